"""Compiling the native sources for the CPU, the CUDA kernels' too, on a stand-in for CUDA."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

STAND_IN = Path(__file__).parent / "cuda_on_cpu"
SOURCES = Path(__file__).parents[2] / "bilateral" / "native"


def compiled(out: Path, sources: Iterable[Path], *flags: str) -> Path:
    """A program, or with -shared a library; the test is skipped where there is no compiler."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    defines = ["-DSEGTOOL_WITH_CUDA", "-DSEGTOOL_CUDA_ON_CPU"]
    common = ["-O1", "-std=c++17", "-ffp-contract=off", "-Wno-psabi", *defines, f"-I{SOURCES}", f"-I{STAND_IN}"]
    subprocess.run([compiler, *common, *flags, "-x", "c++", *map(str, sources), "-o", str(out)], check=True)
    return out
