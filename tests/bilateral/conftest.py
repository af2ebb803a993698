"""What several tests of the operators share."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from segtool.bilateral import library

HERE = Path(__file__).parent / "cuda_on_cpu"
SOURCES = Path(__file__).parents[2] / "bilateral" / "native"


@pytest.fixture(scope="session")
def emulated(tmp_path_factory):
    """The whole library with the CUDA entries running on the CPU, and one that sets the threads' order."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    out = tmp_path_factory.mktemp("emulated") / "libemulated.so"
    sources = [str(p) for p in (*SOURCES.glob("*.cpp"), *SOURCES.glob("*.cu"), *HERE.glob("*.cpp"))]
    flags = ["-O1", "-std=c++17", "-fPIC", "-shared", "-ffp-contract=off", "-Wno-psabi"]
    defines = ["-DSEGTOOL_WITH_CUDA", "-DSEGTOOL_CUDA_ON_CPU"]
    command = [compiler, *flags, *defines, f"-I{HERE}", f"-I{SOURCES}", "-x", "c++", *sources, "-o", str(out)]
    subprocess.run(command, check=True)
    lib = library.load(out)
    lib.segtool_cuda_on_cpu_order.argtypes = [ctypes.c_uint64]
    return lib, out
