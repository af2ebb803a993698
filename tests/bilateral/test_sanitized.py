"""The native code under the sanitizers, with random shapes: addresses, undefined behaviour, races of CUDA threads."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "bilateral" / "native"


def _compiled(out: Path, *flags: str) -> Path:
    """Drives the CPU functions and the CUDA kernels' source, the latter on a stand-in for CUDA."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    names = ["api.cpp", "lattice_cpu.cpp", "filter_cpu.cpp", "spatial_cpu.cpp", "update_rows_cpu.cpp"]
    names += ["update_planes_cpu.cpp", "mean_field_cpu.cpp", "counts_cpu.cpp"]
    names += ["lattice_cuda.cu", "filter_cuda.cu", "spatial_cuda.cu", "update_cuda.cu", "mean_field_cuda.cu"]
    sources = [str(SOURCES / name) for name in names] + [str(HERE / "sanitized" / "drive.cpp")]
    # Versions of functions are chosen before the sanitizers are ready: the portable code is what is checked.
    defines = ["-DSEGTOOL_NO_CLONES", "-DSEGTOOL_WITH_CUDA", "-DSEGTOOL_CUDA_ON_CPU"]
    common = ["-O1", "-g", "-std=c++17", "-ffp-contract=off", "-Wno-psabi", *defines]
    folders = [f"-I{SOURCES}", f"-I{HERE / 'cuda_on_cpu'}"]
    subprocess.run([compiler, *common, *folders, *flags, "-x", "c++", *sources, "-o", str(out)], check=True)
    return out


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fopenmp"]
    return _compiled(tmp_path_factory.mktemp("sanitized") / "drive", *flags)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_shapes(driver, seed):
    subprocess.run([driver, str(seed), "40"], check=True, env={**os.environ, "OMP_NUM_THREADS": "2"}, timeout=600)


@pytest.mark.slow
def test_cuda_threads_do_not_race(tmp_path):
    """The sanitizer knows nothing of OpenMP's own locks, so the CPU functions run on one thread."""
    racing = _compiled(tmp_path / "drive", "-fsanitize=thread", "-DSEGTOOL_CUDA_ON_THREADS", "-Wno-unknown-pragmas")
    options = {"TSAN_OPTIONS": "halt_on_error=1"}
    result = subprocess.run([racing, "1", "15"], env=os.environ | options, capture_output=True, text=True, timeout=600)
    if "unexpected memory mapping" in result.stderr:
        pytest.skip("the compiler's thread sanitizer is too old for this kernel's addresses (vm.mmap_rnd_bits)")
    assert result.returncode == 0, result.stderr
