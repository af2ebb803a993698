"""The CUDA lattice where all threads are at the same place at once, as they are when a kernel begins."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "bilateral" / "native"


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    out = tmp_path_factory.mktemp("in_step") / "drive"
    sources = [str(SOURCES / name) for name in ("api.cpp", "lattice_cuda.cu", "filter_cuda.cu")]
    defines = ["-DSEGTOOL_WITH_CUDA", "-DSEGTOOL_CUDA_ON_CPU", "-DSEGTOOL_CUDA_IN_STEP"]
    flags = ["-O1", "-std=c++17", "-ffp-contract=off", *defines, f"-I{SOURCES}", f"-I{HERE / 'cuda_on_cpu'}"]
    command = [compiler, *flags, "-x", "c++", *sources, str(HERE / "in_step" / "drive.cpp"), "-o", str(out)]
    subprocess.run(command, check=True)
    return out


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("lag", [0, 64])
def test_what_fits_is_built_and_what_does_not_is_told(driver, seed, lag):
    result = subprocess.run([driver, str(seed), str(lag)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
