"""The C++ example: built against ONNX Runtime's C++ interface, it gives the runtime's labels.

ONNX Runtime's headers are in no wheel: SEGTOOL_ONNXRUNTIME_INCLUDE says where they lie.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from segtool.crf.library import library_path
from segtool.runtime import load

EXAMPLE = Path(__file__).parents[2] / "examples" / "cpp"


@pytest.fixture(scope="module")
def segment(tmp_path_factory):
    headers = os.environ.get("SEGTOOL_ONNXRUNTIME_INCLUDE")
    if not headers:
        pytest.skip("needs ONNX Runtime's headers: SEGTOOL_ONNXRUNTIME_INCLUDE=FOLDER of onnxruntime_cxx_api.h")
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    build = tmp_path_factory.mktemp("cpp")
    options = [f"-DONNXRUNTIME_INCLUDE={headers}", f"-DONNXRUNTIME_LIBRARY={library}"]
    subprocess.run(["cmake", "-S", EXAMPLE, "-B", build, *options], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", build], check=True, capture_output=True)
    # The wheel's library is linked by its soname, which is not the file's name.
    (build / "libonnxruntime.so.1").symlink_to(library)
    return lambda *arguments: subprocess.run(
        [build / "segment", *map(str, arguments)],
        capture_output=True, text=True, env={**os.environ, "LD_LIBRARY_PATH": str(build)},
    )  # fmt: skip


@pytest.mark.parametrize("native", [False, True])
def test_labels_are_the_runtimes(segment, tiny_onnx, photo, tmp_path, native):
    Image.fromarray(photo).save(tmp_path / "image.ppm")
    result = segment(tiny_onnx, tmp_path / "image.ppm", tmp_path / "labels.pgm", *([library_path()] if native else []))
    assert (result.returncode, result.stderr) == (0, "")
    labels = np.array(Image.open(tmp_path / "labels.pgm"))
    np.testing.assert_array_equal(labels, load(tiny_onnx, native=native)(photo).labels)


def test_what_is_wrong_is_said(segment, tiny_onnx, photo, tmp_path):
    assert "usage: segment" in segment().stderr
    (tmp_path / "image.ppm").write_bytes(b"P6 4 4 255\n123")
    result = segment(tiny_onnx, tmp_path / "image.ppm", tmp_path / "labels.pgm")
    assert (result.returncode, result.stderr) == (1, f"error: {tmp_path}/image.ppm: ends too early\n")
