"""`segtool predict --map` with the exported file and in PyTorch, on GeoTIFFs and on plain images."""

import json

import numpy as np
import pytest
import rasterio
from PIL import Image

from segtool.data import open_dataset
from segtool.runtime import Tiles, load
from segtool.runtime.maps.predictor import MapPredictor

from ..command_line import segtool
from .test_maps import geotiff


@pytest.fixture(scope="module")
def image():
    dataset = open_dataset("synthetic:96", "val")
    return np.concatenate([np.concatenate([dataset.load(2 * i + j).image for j in range(2)], 1) for i in range(2)])


def predict(cwd, *arguments, code=0):
    done = segtool("predict", *arguments, cwd=cwd)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def labels_of(path):
    with rasterio.open(path) as file:
        return file.read(1)


def test_logits_are_what_the_crf_starts_from(with_logits, tiny_onnx, image):
    model = load(with_logits)
    logits = model.logits(image)
    assert logits.shape == (len(model.card.classes), *image.shape[:2])
    np.testing.assert_array_equal(logits.argmax(0), load(tiny_onnx)(image).unary_labels)
    assert model(image).probabilities is None


def test_one_tile_is_the_model_itself(with_logits, tiny_run, tmp_path, image):
    (tmp_path / "maps" / "sub").mkdir(parents=True)
    geotiff(tmp_path / "maps" / "a.tif", image)
    Image.fromarray(image).save(tmp_path / "maps" / "sub" / "b.png")
    (tmp_path / "maps" / "note.txt").touch()
    said = predict(tmp_path, with_logits, "maps", "--out", "out", "--map")
    assert "2 of 2 maps written to out (1 other file left alone: note.txt)" in said
    expected = load(with_logits)(image).labels
    for name in ("a.tif", "sub/b.tif"):
        assert (labels_of(tmp_path / "out" / name) == expected).mean() >= 0.9999
    with rasterio.open(tmp_path / "out" / "a.tif") as file:
        assert file.crs == "EPSG:32633"
    predict(tmp_path, tiny_run, "maps/a.tif", "--out", "torch", "--map")
    assert (labels_of(tmp_path / "torch" / "a.tif") == expected).mean() >= 0.9999


def test_maps_are_resumed(with_logits, tmp_path, image):
    geotiff(tmp_path / "a.tif", image)
    predict(tmp_path, with_logits, "a.tif", "--out", "out", "--map")
    first = (tmp_path / "out" / "a.tif").stat().st_mtime_ns
    assert "1 of them before" in predict(tmp_path, with_logits, "a.tif", "--out", "out", "--map", "--resume")
    assert (tmp_path / "out" / "a.tif").stat().st_mtime_ns == first
    other = ("--threshold", "0.9", "--tile", "96x96", "--overlap", "32")
    assert "before" not in predict(tmp_path, with_logits, "a.tif", "--out", "out", "--map", "--resume", *other)
    assert (labels_of(tmp_path / "out" / "a.tif") == 255).any()


def test_bands_are_chosen(with_logits, tmp_path, image):
    geotiff(tmp_path / "a.tif", np.concatenate([image[..., ::-1], image[..., :1]], 2), alpha="no")
    predict(tmp_path, with_logits, "a.tif", "--out", "out", "--map", "--bands", "3,2,1")
    assert (labels_of(tmp_path / "out" / "a.tif") == load(with_logits)(image).labels).mean() >= 0.9999


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bands", "1,2,3"], "--bands needs --map"),
        (["--map", "--bands", "1;2"], "--bands must be numbers: 1;2"),
        (["--map", "--bands", "1,2,9"], "the file has the bands 1..3; the model takes 3 of them"),
        (["--map", "--format", "coco"], "--map does not go with --format"),
        (["--map", "--tile", "64x64", "--overlap", "64"], "cannot overlap by 64"),
    ],
)
def test_options_that_do_not_go_together(with_logits, tmp_path, image, options, said):
    geotiff(tmp_path / "a.tif", image)
    assert said in predict(tmp_path, with_logits, "a.tif", "--out", "out", *options, code=2)


def test_a_model_without_logits_and_a_broken_map(tiny_onnx, with_logits, tmp_path, image):
    geotiff(tmp_path / "a.tif", image)
    (tmp_path / "b.tif").write_text("hello")
    said = predict(tmp_path, tiny_onnx, "a.tif", "--out", "out", "--map", code=2)
    assert "the model does not give logits" in said
    assert "segtool export RUN --logits" in said
    assert not (tmp_path / "out").exists()
    said = predict(tmp_path, with_logits, "a.tif", "b.tif", "--out", "out", "--map", code=2)
    assert "1 of 2 maps written to out" in said
    assert "not an image whose bands can be read: b.tif" in said


def test_maps_never_take_the_place_of_images(with_logits, tmp_path, image):
    for folder in ("scenes", "in", "out/k"):
        (tmp_path / folder).mkdir(parents=True)
    geotiff(tmp_path / "scenes" / "a.tif", image)
    before = (tmp_path / "scenes" / "a.tif").read_bytes()
    Image.fromarray(image).save(tmp_path / "scenes" / "a.jpg")
    Image.fromarray(image).save(tmp_path / "scenes" / "b.png")
    for name in ("a.tif", "a.jpg"):
        said = predict(tmp_path, with_logits, f"scenes/{name}", "--out", "scenes", "--map", code=2)
        assert "would overwrite an image" in said
    assert (tmp_path / "scenes" / "a.tif").read_bytes() == before
    predict(tmp_path, with_logits, "scenes/b.png", "--out", "scenes", "--map")
    predict(tmp_path, with_logits, "scenes/b.png", "--out", "scenes", "--map")  # its own map may be written again


def test_a_model_of_one_size(tiny_run, tmp_path, image):
    from segtool.export.onnx_export import export_onnx

    export_onnx(tiny_run, tmp_path / "fixed.onnx", logits=True, size=(64, 96))
    for name, size in (("a", (150, 170)), ("b", (40, 300)), ("c", (65, 97))):
        Image.fromarray(np.ascontiguousarray(np.tile(image, (1, 2, 1))[: size[0], : size[1]])).save(
            tmp_path / f"{name}.png"
        )
    predict(tmp_path, "fixed.onnx", "a.png", "b.png", "c.png", "--out", "out", "--map")
    assert labels_of(tmp_path / "out" / "b.tif").shape == (40, 300)
    said = predict(tmp_path, "fixed.onnx", "a.png", "--out", "out", "--map", "--tile", "64x64", code=2)
    assert "the model takes one size alone: --tile (--tile 64x96)" in said


def test_eval_scores_what_is_deployed(with_logits, tiny_run, tmp_path, image):
    """Windows of an exported file are those of predict --map, and nearly those of PyTorch, where the CRF sees all."""
    geotiff(tmp_path / "a.tif", image)
    predict(tmp_path, with_logits, "a.tif", "--out", "out", "--map", "--tile", "64x64", "--overlap", "32")
    found = MapPredictor(load(with_logits), load(with_logits).card, Tiles(64, 64, 32))(image)
    assert np.array_equal(found.labels, labels_of(tmp_path / "out" / "a.tif"))
    assert (found.unary_labels != found.labels).any()
    mious = []
    for model in (with_logits, tiny_run):
        options = ("--data", "synthetic:96", "--slide", "64", "--stride", "32", "--out", f"eval{len(mious)}")
        done = segtool("eval", model, *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        summary = json.loads((tmp_path / f"eval{len(mious)}" / "summary.json").read_text())
        mious.append([summary[stage]["miou"] for stage in ("before_crf", "after_crf")])
    assert mious[0] == pytest.approx(mious[1], abs=0.003)
