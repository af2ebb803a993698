"""What several tests of the operators share."""

import ctypes

import pytest

from segtool.crf import library

from .compiler import SOURCES, STAND_IN, compiled, compiled_by_nvcc


@pytest.fixture(scope="session")
def emulated(tmp_path_factory):
    """The whole library with the CUDA entries running on the CPU, and one that sets the threads' order."""
    out = tmp_path_factory.mktemp("emulated") / "libemulated.so"
    compiled(out, [*SOURCES.glob("*.cpp"), *SOURCES.glob("*.cu"), *STAND_IN.glob("*.cpp")], "-fPIC", "-shared")
    return _loaded(out), out


@pytest.fixture(scope="session")
def emulated_ptx(tmp_path_factory):
    """The same of what nvcc compiles: the host's code as it is, the device's PTX on a machine made for it."""
    out = tmp_path_factory.mktemp("emulated_ptx") / "libemulated.so"
    compiled_by_nvcc(out, SOURCES.glob("*.cu"), SOURCES.glob("*.cpp"), "-shared")
    return _loaded(out), out


def _loaded(path):
    lib = library.load(path)
    lib.segtool_cuda_on_cpu_order.argtypes = [ctypes.c_uint64]
    return lib
