"""The native code under AddressSanitizer and UndefinedBehaviorSanitizer, with random shapes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "bilateral" / "native"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def _compile(out: Path, arguments: list[str]) -> Path:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    flags = ["-O1", "-g", "-std=c++17", "-ffp-contract=off", "-Wno-psabi", *SANITIZERS, f"-I{SOURCES}"]
    subprocess.run([compiler, *flags, *arguments, "-o", str(out)], check=True)
    return out


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """Both the CPU functions and the CUDA kernels' source, the latter on a stand-in for CUDA."""
    names = ["api.cpp", "lattice_cpu.cpp", "filter_cpu.cpp", "spatial_cpu.cpp", "update_rows_cpu.cpp"]
    names += ["update_planes_cpu.cpp", "mean_field_cpu.cpp", "counts_cpu.cpp"]
    names += ["lattice_cuda.cu", "filter_cuda.cu", "spatial_cuda.cu", "update_cuda.cu"]
    sources = [str(SOURCES / name) for name in names] + [str(HERE / "sanitized" / "drive.cpp")]
    # Versions of functions are chosen before the sanitizers are ready: the portable code is what is checked.
    defines = ["-DSEGTOOL_NO_CLONES", "-DSEGTOOL_WITH_CUDA", "-DSEGTOOL_CUDA_ON_CPU", f"-I{HERE / 'cuda_on_cpu'}"]
    return _compile(tmp_path_factory.mktemp("sanitized") / "drive", [*defines, "-fopenmp", "-x", "c++", *sources])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_shapes(driver, seed):
    subprocess.run([driver, str(seed), "40"], check=True, env={**os.environ, "OMP_NUM_THREADS": "2"}, timeout=600)
