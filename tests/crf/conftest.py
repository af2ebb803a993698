"""What several tests of the operators share."""

import ctypes

import pytest

from segtool.crf import cuda as entries
from segtool.crf import library

from .compiler import SOURCES, STAND_IN, compiled, compiled_by_nvcc

_LIBRARY = "libemulated.so"


@pytest.fixture(scope="session")
def emulated(once):
    """The whole library with the CUDA entries running on the CPU, and one that sets the threads' order."""
    sources = [*SOURCES.glob("*.cpp"), *SOURCES.glob("*.cu"), *STAND_IN.glob("*.cpp")]
    out = once("emulated", lambda folder: compiled(folder / _LIBRARY, sources, "-fPIC", "-shared")) / _LIBRARY
    return _loaded(out), out


@pytest.fixture(scope="session")
def emulated_ptx(once):
    """The same of what nvcc compiles: the host's code as it is, the device's PTX on a machine made for it."""
    parts = SOURCES.glob("*.cu"), SOURCES.glob("*.cpp")
    out = once("emulated_ptx", lambda folder: compiled_by_nvcc(folder / _LIBRARY, *parts, "-shared")) / _LIBRARY
    return _loaded(out), out


def _loaded(path):
    lib = library.load(path)
    lib.segtool_cuda_on_cpu_order.argtypes = [ctypes.c_uint64]
    return lib


@pytest.fixture(params=["emulated", pytest.param("emulated_ptx", marks=pytest.mark.slow)], ids=["source", "PTX"])
def on_cpu(request):
    """The library with the CUDA entries running on the CPU, and its path."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[1, 77])
def cuda(on_cpu, monkeypatch, request):
    """`segtool.crf.cuda`, with such a library under it."""
    lib, _ = on_cpu
    lib.segtool_cuda_on_cpu_order(request.param)
    monkeypatch.setattr(library, "library", lambda: lib)
    return entries
