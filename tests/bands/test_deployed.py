"""A model for bands, deployed: the file's input is the data's, everything else lies inside, and every face takes it."""

import io

import numpy as np
import onnx
import pytest
import rasterio
from PIL import Image

from segtool.bands import picture
from segtool.demo.answers import segmenter
from segtool.demo.app import build_demo, launch
from segtool.demo.folder import own_folder
from segtool.errors import SegtoolError
from segtool.export.comparison import Case
from segtool.export.verify import verify
from segtool.input_contract import InputContract
from segtool.runtime import Tiles, load, predict_tiled
from segtool.runtime.bulk.storage import Storage
from segtool.runtime.bulk.worker import Work, Worker
from segtool.runtime.maps.reading import opened
from segtool.runtime.serving.application import build_application
from segtool.train.checkpoint import load_segmenter
from segtool.train.predict import TorchPredictor

from ..command_line import segtool
from ..export.real_build import built
from ..runtime.serving.local import LIMITS, Local, asker
from .files import PLACE, five_bands, write_bands

SEGMENT = "/models/bands/segment"


@pytest.fixture(scope="module")
def model(bands_run):
    return load(bands_run / "model.onnx")


@pytest.fixture(scope="module")
def file(bands_run):
    return bands_run / "data" / "val" / "images" / "0.tif"


@pytest.fixture
def gaps(tmp_path):
    """An image with a corner that has no data."""
    image = five_bands(np.random.default_rng(5).integers(0, 256, (48, 64, 3), np.uint8))
    image[:9, :12] = 65535  # another number than that of the training data
    return write_bands(tmp_path / "images" / "gaps.tif", image, nodata=65535)


def test_the_input_is_the_datas(bands_run, model):
    [given] = onnx.load(bands_run / "model.onnx").graph.input
    kind = given.type.tensor_type
    assert kind.elem_type == onnx.TensorProto.UINT16
    assert [d.dim_value for d in kind.shape.dim][-1] == 5
    contract = model.card.input
    assert (contract.bands, contract.kind, contract.shown, contract.guide, contract.nodata) == (
        (1, 2, 3, 4, 5), "uint16", (3, 2, 1), (4, 5, 1), 0,
    )  # fmt: skip


def test_labels_are_pytorchs(bands_run, model, file):
    image = model.taken(file)
    assert image.dtype == np.uint16
    assert np.array_equal(image, rasterio.open(file).read().transpose(1, 2, 0))
    segmenter, _ = load_segmenter(bands_run / "model.safetensors")
    expected, found = TorchPredictor(segmenter)(image), model(image)
    assert np.array_equal(expected.labels, found.labels)
    assert (expected.labels != expected.unary_labels).mean() > 0.02  # the CRF does something
    assert np.array_equal(model(file).labels, found.labels)
    for record in verify(bands_run / "model.safetensors", bands_run / "model.onnx", [Case(image)]):
        assert record.label_agreement == 1
        assert record.passed


def test_the_crf_sees_the_bands_that_the_card_names(bands_run, file):
    segmenter, card = load_segmenter(bands_run / "model.safetensors")
    image = load(bands_run / "model.onnx").taken(file)
    other = card.input.model_copy(update={"guide": (1, 1, 1)})
    segmenter.contract = other
    labels = TorchPredictor(segmenter)(image).labels
    assert (labels != load(bands_run / "model.onnx")(image).labels).any()


def test_images_that_it_does_not_take(model, file):
    image = model.taken(file)
    for wrong in (image[..., :3], image.astype(np.uint8), image.astype(float), image[..., 0], Image.new("RGB", (8, 8))):
        with pytest.raises(SegtoolError, match=r"uint16 \[H,W,5\]"):
            model(wrong)
    with pytest.raises(SegtoolError, match=r"uint16 \[H,W,5\]"):
        model.batch([image, image.astype(np.float32)])
    with pytest.raises(SegtoolError, match=r"images must be uint16 \[N,H,W,5\]"):
        model.on_device(np.zeros((1, 32, 32, 3), np.uint8))
    assert len(model.batch(np.stack([image, image]))) == 2


def test_predictions_are_void_where_there_are_no_data(bands_run, gaps, tmp_path, model):
    found = segtool("predict", bands_run / "model.onnx", gaps.parent, "--out", "out", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    mask = np.array(Image.open(tmp_path / "out" / "gaps.png"))
    expected = model(gaps).labels.copy()
    expected[:9, :12] = 255
    assert np.array_equal(mask, expected)
    overlay = np.array(Image.open(tmp_path / "out" / "gaps_overlay.jpg"))
    assert 40 < overlay.mean() < 215  # neither dark nor burnt out
    tiled = predict_tiled(model, gaps, Tiles(32, 32, 16)).labels
    assert tiled.shape == expected.shape


def test_a_map_has_the_labels_of_the_image(bands_run, gaps, tmp_path):
    found = segtool("predict", bands_run / "model.onnx", gaps, "--out", "maps", "--map", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    segtool("predict", bands_run / "model.onnx", gaps, "--out", "out", cwd=tmp_path)
    with rasterio.open(tmp_path / "maps" / "gaps.tif") as file:
        labels = file.read(1)
        assert file.transform == PLACE["transform"]
    assert np.mean(labels == np.array(Image.open(tmp_path / "out" / "gaps.png"))) >= 0.999
    assert (labels[:9, :12] == 255).all()


def test_maps_that_it_does_not_take(model, tmp_path):
    image = np.ones((20, 30, 5), np.uint16)
    for name, other, bands, said in (
        ("kind", image.astype(np.float32), None, "an image of float32: .*trained on uint16"),
        ("count", image[..., :4], None, "bands 1, 2, 3, 4, 5: .*the file has the bands 1..4"),
        ("chosen", image, (1, 2, 3), "bands 1, 2, 3: .*the model takes 5 of them"),
    ):
        with (
            pytest.raises(SegtoolError, match=said),
            opened(write_bands(tmp_path / f"{name}.tif", other), bands, model.card.input),
        ):
            pass


def test_floating_point_maps_have_gaps(tmp_path):
    about = {"mean": (1.0,), "std": (1.0,), "low": (0.0,), "high": (2.0,), "shown": (1, 1, 1), "guide": (1, 1, 1)}
    contract = InputContract(bands=(1,), kind="float32", **about)
    image = np.ones((20, 30, 1), np.int16)
    image[3, 4] = -99
    with opened(write_bands(tmp_path / "a.tif", image, nodata=-99), None, contract) as source:
        found = source.read(slice(0, 20), slice(0, 30))
    assert found.dtype == np.float32
    assert np.argwhere(np.isnan(found)).tolist() == [[3, 4, 0]]


def test_served(bands_run, model, gaps, photo):
    ask = asker(build_application(Local(bands_run / "model.onnx"), {"bands": model.card}, LIMITS))
    answer = ask("POST", SEGMENT, content=gaps.read_bytes())
    assert answer.status_code == 200, answer.text
    assert ask("GET", "/models").json()[0]["input"] == {"kind": "uint16", "bands": [1, 2, 3, 4, 5]}
    png = io.BytesIO()
    Image.fromarray(photo).save(png, "PNG")
    refused = ask("POST", SEGMENT, content=png.getvalue())
    assert refused.status_code == 422
    assert "there is no band 4" in refused.json()["error"]
    assert ask("POST", SEGMENT, content=b"GIF89a").status_code == 415


def test_in_bulk(bands_run, model, gaps, tmp_path):
    work = Work(Storage.at(str(gaps.parent)), Storage.at(str(tmp_path / "out")), str(bands_run / "model.onnx"))
    counted = Worker(work)({"path": np.array(["gaps.tif"]), "name": np.array(["gaps"])})
    assert counted == {"done": [1], "failed": [0]}
    mask = np.array(Image.open(tmp_path / "out" / "gaps.png"))
    assert (mask[:9, :12] == 255).all()
    assert np.array_equal(mask[9:], model(gaps).labels[9:])


def test_the_page_shows_the_bands_that_the_card_names(model, gaps):
    result = segmenter({"bands": model}, 100_000)(str(gaps), 0.5, [], "bands", "")[0]
    assert np.array_equal(result.image, picture(model.taken(gaps), model.card.input))
    assert (result.prediction.labels[:9, :12] == 255).all()


def test_a_video_has_no_such_bands(bands_run, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"")
    ended = segtool("predict", bands_run / "model.onnx", "film.mp4", "--out", "out", cwd=tmp_path)
    assert ended.returncode == 2
    assert "the model takes 5 bands" in ended.stderr


def test_evaluated_ranked_and_timed(bands_run, tmp_path):
    model, spec = bands_run / "model.onnx", f"folder:{bands_run / 'data'}"
    (tmp_path / "classes.yaml").write_text((bands_run / "data" / "classes.yaml").read_text().replace("bands: all", ""))
    for command in (
        ("eval", model, "--data", spec, "--out", "eval", "--failures", "1"),
        ("data", "rank", model, bands_run / "data" / "val" / "images", "--out", "rank.csv"),
        ("bench", model, "--runs", "1", "--size", "32x48"),
        ("data", "show", spec, "--out", "sheet.png"),
        ("data", "convert", spec, "converted"),
        ("data", "check", "folder:converted"),
        ("verify", bands_run / "model.safetensors", model, "--limit", "2"),
    ):
        ended = segtool(*command, cwd=tmp_path)
        assert ended.returncode == 0, (command, ended.stdout, ended.stderr)
    assert np.array(Image.open(tmp_path / "eval" / "failures" / "images" / "0.png")).mean() > 40


@pytest.mark.slow
def test_an_engine_takes_sixteen_bits_as_floating_point(bands_run, tmp_path):
    network = built(bands_run / "model.onnx", tmp_path)
    assert network["input"] == ["image", "FLOAT", [-1, -1, -1, 5]]


def test_the_page_takes_files_of_bands(model, gaps):
    from gradio_client import Client, handle_file

    with own_folder():
        page = build_demo({"bands": model}, None, max_pixels=100_000)
        launch(page, server_name="127.0.0.1")
        try:
            client = Client(page.local_url, verbose=False)
            *_, numbers = client.predict(handle_file(str(gaps)), 0.5, [], "bands", "", api_name="/segment")
        finally:
            page.close()
    labels = model(gaps).labels
    labels[:9, :12] = 255
    assert {c["id"]: c["pixels"] for c in numbers["classes"]} == {
        int(i): int((labels == i).sum()) for i in np.unique(labels[labels != 255])
    }
