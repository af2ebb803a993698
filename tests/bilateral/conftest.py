"""What several tests of the operators share."""

import ctypes

import pytest

from segtool.bilateral import library

from .compiler import SOURCES, STAND_IN, compiled


@pytest.fixture(scope="session")
def emulated(tmp_path_factory):
    """The whole library with the CUDA entries running on the CPU, and one that sets the threads' order."""
    out = tmp_path_factory.mktemp("emulated") / "libemulated.so"
    compiled(out, [*SOURCES.glob("*.cpp"), *SOURCES.glob("*.cu"), *STAND_IN.glob("*.cpp")], "-fPIC", "-shared")
    lib = library.load(out)
    lib.segtool_cuda_on_cpu_order.argtypes = [ctypes.c_uint64]
    return lib, out
