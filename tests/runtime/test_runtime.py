"""The deployed runtime: no torch, clear refusals, many threads."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from segtool.errors import SegtoolError
from segtool.runtime import Tiles, load, predict_tiled

_WITHOUT_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "lightning", "onnx", "timm", "onnxscript"}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
import numpy as np, segtool.runtime
image = np.full((40, 50, 3), 120, np.uint8)
prediction = segtool.runtime.load(sys.argv[1])(image)
assert prediction.labels.shape == (40, 50)
import segtool.demo.app
print("ran without", "torch" not in sys.modules)
"""


def test_runs_without_torch(tiny_onnx, tmp_path):
    command = [sys.executable, "-c", _WITHOUT_TORCH, str(tiny_onnx)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "ran without True", result.stderr


def test_onnx_of_another_tool(tmp_path):
    info = helper.make_tensor_value_info
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "g", [info("x", TensorProto.FLOAT, [1])], [info("y", TensorProto.FLOAT, [1])])
    path = tmp_path / "other.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    with pytest.raises(SegtoolError, match="no segtool model card"):
        load(path)


def test_not_onnx_at_all(tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"hello")
    with pytest.raises(SegtoolError, match="ONNX Runtime cannot load"):
        load(path)
    with pytest.raises(SegtoolError, match="no such model"):
        load(tmp_path / "none.onnx")
    with pytest.raises(SegtoolError, match="segtool export"):
        load(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((5, 5, 3), np.float32), ((5, 5), np.uint8), ((5, 5, 4), np.uint8), ((0, 5, 3), np.uint8)],
)
def test_bad_arrays(tiny_onnx, shape, dtype):
    with pytest.raises(SegtoolError, match=r"uint8 \[H,W,3\]"):
        load(tiny_onnx)(np.zeros(shape, dtype))


@pytest.mark.parametrize("backend", ["openvino", "CPU", ""])
def test_a_backend_that_there_is_not(tiny_onnx, backend):
    with pytest.raises(SegtoolError, match=f"^there is no backend {backend} .one of auto, tensorrt, cuda, cpu.$"):
        load(tiny_onnx, backend=backend)


def test_what_an_image_may_be(tiny_onnx, tmp_path, photo):
    model = load(tiny_onnx)
    expected = model(photo).labels
    Image.fromarray(photo).save(tmp_path / "a.png")
    for image in (Image.fromarray(photo), str(tmp_path / "a.png"), tmp_path / "a.png", torch.from_numpy(photo)):
        np.testing.assert_array_equal(model(image).labels, expected)
        np.testing.assert_array_equal(predict_tiled(model, image, Tiles(200, 200, 8)).labels, expected)
    for images in (np.stack([photo, photo]), [Image.fromarray(photo), tmp_path / "a.png"], iter([photo, photo])):
        for prediction in model.batch(images):
            np.testing.assert_array_equal(prediction.labels, expected)
    assert model.batch([]) == model.batch(np.zeros((0, 8, 8, 3), np.uint8)) == []


def test_a_pil_image_is_read_as_its_file_is(tiny_onnx, tmp_path, photo):
    """A fourth band that the file does not call transparency is none, also for an image that was opened by hand."""
    rgba = Image.fromarray(np.dstack([photo, np.full(photo.shape[:2], 3, np.uint8)]), "RGBA")
    rgba.save(tmp_path / "four.tif", tiffinfo={338: 0})
    with Image.open(tmp_path / "four.tif") as image:
        image.load()
        del image.tag_v2[338]
        model = load(tiny_onnx)
        np.testing.assert_array_equal(model(image).labels, model(photo).labels)


def test_a_pil_image_that_is_cut_short_is_one_line(tiny_onnx, tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:800])
    with Image.open(tmp_path / "cut.jpg") as image, pytest.raises(SegtoolError, match="unreadable image"):
        load(tiny_onnx)(image)


def test_a_pil_image_is_turned_upright_and_left_as_it_was(tiny_onnx, tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        labels = load(tiny_onnx)(image).labels
        assert image.size == photo.shape[1::-1]
    np.testing.assert_array_equal(labels, load(tiny_onnx)(np.ascontiguousarray(np.rot90(photo, -1))).labels)


@pytest.mark.parametrize(
    ("call", "given", "said"),
    [
        ("__call__", [[1]], "not an image: list .give uint8 .H,W,3. RGB, a PIL image or a path.$"),
        ("__call__", None, "not an image: NoneType"),
        ("__call__", "none.png", "no such file: none.png$"),
        ("__call__", np.zeros((2, 8, 8, 3), np.uint8), r"uint8 \[2, 8, 8, 3\] .model.batch takes several.$"),
        ("__call__", torch.zeros(8, 8, 3, dtype=torch.uint8, device="meta"), "not an array in the host's memory"),
        ("batch", "none.png", "a batch is several images: str .give a list of them, or call model.image..$"),
        ("batch", np.zeros((8, 8, 3), np.uint8), "a batch is several images: ndarray"),
        ("batch", Image.new("RGB", (8, 8)), "a batch is several images"),
        ("batch", 5, "a batch is several images: int"),
        ("batch", [5], "not an image: int"),
    ],
)
def test_what_is_no_image_is_said_in_one_line(tiny_onnx, call, given, said):
    with pytest.raises(SegtoolError, match=said):
        getattr(load(tiny_onnx), call)(given)


def test_calls_from_many_threads(tiny_onnx, photo):
    model = load(tiny_onnx, threads=1)
    expected = model(photo).labels
    with ThreadPoolExecutor(4) as pool:
        for labels in pool.map(lambda _: model(photo).labels, range(8)):
            np.testing.assert_array_equal(labels, expected)


_THREADS = """
import os, sys, threading
from pathlib import Path
import numpy as np, segtool.runtime
image = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
count = lambda: len(list(Path("/proc/self/task").iterdir()))
counts = []
for threads in (1, 1, 3):  # the first session makes a thread that all have
    before = count()
    model = segtool.runtime.load(sys.argv[1], threads=threads)
    model(image)
    counts.append(count() - before)
    del model
print(counts[1:])
"""


def test_a_model_uses_the_threads_that_it_is_given_for_the_crf_too(tiny_onnx):
    """Counted by the system: the kernels work with the session's threads and make none of their own."""
    told = subprocess.check_output([sys.executable, "-c", _THREADS, str(tiny_onnx)], text=True, timeout=120)
    assert told.strip() == "[0, 2]"


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_arrays_of_other_libraries_are_taken_over(tiny_onnx, photo, library):
    """Here the device is the processor; what is shown is that nothing is copied in between."""
    model, images = load(tiny_onnx), np.ascontiguousarray(np.stack([photo, photo[::-1]]))
    outputs = model.on_device(torch.from_numpy(images) if library == "torch" else images)
    expected = model.batch(list(images))
    for index, prediction in enumerate(expected):
        np.testing.assert_array_equal(np.from_dlpack(outputs["labels"])[index], prediction.labels)
        np.testing.assert_array_equal(torch.from_dlpack(outputs["confidence"])[index], prediction.confidence)
        np.testing.assert_array_equal(np.from_dlpack(outputs["unary_labels"])[index], prediction.unary_labels)
    first, kept = torch.from_dlpack(outputs["labels"]), expected[0].labels
    assert first.data_ptr() == outputs["labels"].data_ptr()
    del outputs
    model.on_device(255 - images)
    np.testing.assert_array_equal(first[0], kept)  # its memory is its own


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 20, 40, 3), np.uint8)[:, :, ::2], "cannot be taken over.*contiguous"),
        (np.zeros((1, 20, 20, 3), np.float32), r"must be uint8 \[N,H,W,3\]: float32 \[1, 20, 20, 3\]"),
        (np.zeros((20, 20, 3), np.uint8), r"must be uint8 \[N,H,W,3\]: uint8 \[20, 20, 3\]"),
        (np.zeros((0, 20, 20, 3), np.uint8), "must be uint8|cannot be taken over"),
        ([[1]], "cannot be taken over.*: list"),
    ],
)
def test_arrays_that_cannot_be_taken_over(tiny_onnx, images, message):
    with pytest.raises(SegtoolError, match=message):
        load(tiny_onnx).on_device(images)
