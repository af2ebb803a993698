"""The native code under the sanitizers, with random shapes: addresses, undefined behaviour, races of CUDA threads."""

import os
import subprocess
from pathlib import Path

import pytest

from .compiler import SOURCES, compiled


def _driver(out: Path, *flags: str) -> Path:
    """Drives the CPU functions and the CUDA kernels' source."""
    names = ["api.cpp", "lattice_cpu.cpp", "filter_cpu.cpp", "spatial_cpu.cpp", "update_rows_cpu.cpp"]
    names += ["update_planes_cpu.cpp", "mean_field_cpu.cpp", "counts_cpu.cpp"]
    names += ["lattice_cuda.cu", "filter_cuda.cu", "spatial_cuda.cu", "update_cuda.cu", "mean_field_cuda.cu"]
    sources = [*(SOURCES / name for name in names), Path(__file__).parent / "sanitized" / "drive.cpp"]
    # Versions of functions are chosen before the sanitizers are ready: the portable code is what is checked.
    return compiled(out, sources, "-g", "-DSEGTOOL_NO_CLONES", *flags)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fopenmp"]
    return _driver(tmp_path_factory.mktemp("sanitized") / "drive", *flags)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_shapes(driver, seed):
    subprocess.run([driver, str(seed), "40"], check=True, env={**os.environ, "OMP_NUM_THREADS": "2"}, timeout=600)


@pytest.mark.slow
def test_cuda_threads_do_not_race(tmp_path):
    """The sanitizer knows nothing of OpenMP's own locks, so the CPU functions run on one thread."""
    racing = _driver(tmp_path / "drive", "-fsanitize=thread", "-DSEGTOOL_CUDA_ON_THREADS", "-Wno-unknown-pragmas")
    options = {"TSAN_OPTIONS": "halt_on_error=1"}
    result = subprocess.run([racing, "1", "15"], env=os.environ | options, capture_output=True, text=True, timeout=600)
    if "unexpected memory mapping" in result.stderr:
        pytest.skip("the compiler's thread sanitizer is too old for this kernel's addresses (vm.mmap_rnd_bits)")
    assert result.returncode == 0, result.stderr
