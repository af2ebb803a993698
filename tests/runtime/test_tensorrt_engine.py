"""The TensorRT backend: on a played device in a process of its own, and where there is no device."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from segtool.errors import SegtoolError
from segtool.runtime.cuda_device import cuda_device, device_view, tensorrt

HERE = Path(__file__).parent


@pytest.fixture
def driver(tmp_path):
    """A folder with a `libcuda.so.1` whose device is the processor."""
    spec = importlib.util.find_spec("nvidia.cu13") if importlib.util.find_spec("nvidia") else None
    headers = [Path(place) / "include" for place in spec.submodule_search_locations or ()] if spec else []
    if not any((folder / "cuda.h").is_file() for folder in headers) or importlib.util.find_spec("cuda") is None:
        pytest.skip("needs cuda.core, and cuda.h of the wheel nvidia-cuda-runtime")
    command = [
        "g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread",
        "-Wl,-soname,libcuda.so.1", *(f"-I{folder}" for folder in headers),
        str(HERE / "cuda_driver" / "driver.cpp"), "-o", str(tmp_path / "libcuda.so.1"),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return tmp_path


@pytest.mark.slow
def test_engine_on_a_played_device(driver, tiny_onnx):
    environment = os.environ | {"LD_LIBRARY_PATH": str(driver), "SEGTOOL_TINY_RUN": str(tiny_onnx.parent)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", HERE / "engine_on_played_device.py"]
    result = subprocess.run(command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    print(result.stdout)


def test_arrays_that_cannot_stay_on_the_device():
    pytest.importorskip("cuda.core")
    stream = SimpleNamespace(handle=-1)
    with pytest.raises(SegtoolError, match="does not lie on the device"):
        device_view(np.zeros((1, 4, 4, 3), np.uint8), stream)
    with pytest.raises(SegtoolError, match="cannot be taken over.*list"):
        device_view([1], stream)


def test_without_a_gpu_it_says_what_is_missing():
    with pytest.raises(SegtoolError, match="segtool doctor"):
        tensorrt()
    with pytest.raises(SegtoolError, match=r"no CUDA device can be used.*segtool doctor"):
        cuda_device()
