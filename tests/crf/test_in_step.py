"""The CUDA lattice where all threads are at the same place at once, as they are when a kernel begins."""

import subprocess
from pathlib import Path

import pytest

from .compiler import SOURCES, compiled


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    sources = [SOURCES / name for name in ("api.cpp", "lattice_cuda.cu", "filter_cuda.cu")]
    sources.append(Path(__file__).parent / "in_step" / "drive.cpp")
    return compiled(tmp_path_factory.mktemp("in_step") / "drive", sources, "-DSEGTOOL_CUDA_IN_STEP")


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("lag", [0, 64])
def test_what_fits_is_built_and_what_does_not_is_told(driver, seed, lag):
    result = subprocess.run([driver, str(seed), str(lag)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
