"""The native code under the sanitizers, with random shapes: addresses, undefined behaviour, races of CUDA threads."""

import os
import subprocess
from pathlib import Path

import pytest

from .compiler import SOURCES, compiled, compiled_by_nvcc

HOST = ["api", "threads", "mean_field_cpu"]
HOST += [f"{name}_cpu" for name in ("lattice", "filter", "spatial", "update_rows", "update_planes")]
COUNTS = Path(__file__).parents[2] / "evaluation" / "native"
DRIVER = Path(__file__).parent / "sanitized" / "drive.cpp"
CPU = [*(SOURCES / f"{name}.cpp" for name in HOST), COUNTS / "counts.cpp", DRIVER]
CUDA = [SOURCES / f"{name}_cuda.cu" for name in ("lattice", "filter", "spatial", "update", "mean_field")]
# Versions of functions are chosen before the sanitizers are ready: the portable code is what is checked.
FLAGS = ["-g", "-DSEGTOOL_NO_CLONES", f"-I{COUNTS}"]


def _driver(out: Path, *flags: str) -> Path:
    """Drives the CPU functions and the CUDA kernels' source."""
    return compiled(out, [*CPU, *CUDA], *FLAGS, *flags)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    return _driver(tmp_path_factory.mktemp("sanitized") / "drive", *flags)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_shapes(driver, seed):
    subprocess.run([driver, str(seed), "40"], check=True, env={**os.environ, "OMP_NUM_THREADS": "2"}, timeout=600)


@pytest.mark.slow
def test_what_nvcc_compiles_stays_in_bounds(tmp_path):
    """Its PTX, on the CPU: also that accesses are aligned, and that threads of a block wait for one another."""
    driver = compiled_by_nvcc(tmp_path / "drive", CUDA, CPU, *FLAGS, "-fsanitize=address")
    for seed in ("1", "2"):
        subprocess.run([driver, seed, "15"], check=True, timeout=600)


@pytest.mark.slow
def test_threads_do_not_race(tmp_path):
    """Those of the library's pool, and those that stand for CUDA's."""
    racing = _driver(tmp_path / "drive", "-fsanitize=thread", "-DSEGTOOL_CUDA_ON_THREADS")
    options = {"TSAN_OPTIONS": "halt_on_error=1", "OMP_NUM_THREADS": "3"}
    result = subprocess.run([racing, "1", "15"], env=os.environ | options, capture_output=True, text=True, timeout=600)
    if "unexpected memory mapping" in result.stderr:
        pytest.skip("the compiler's thread sanitizer is too old for this kernel's addresses (vm.mmap_rnd_bits)")
    assert result.returncode == 0, result.stderr
