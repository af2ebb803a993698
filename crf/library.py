"""Finding and loading the native library, and the types of its C interface (`native/api.h`)."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

from segtool.errors import SegtoolError
from segtool.native_library import load_library, native_library

OVERFLOW, BAD_LEVEL = 1, 2  # bits of a CUDA lattice's status[1]
_I64, _F64, _PTR, _INT = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p, ctypes.c_int
_SIZES, _SIGMAS = [_I64] * 3, [_F64] * 2
_ARGUMENTS: dict[str, list[Any]] = {
    "segtool_error_message": [],
    "segtool_limit_threads": [_INT],
    "segtool_lattice_build": [_PTR, *_SIZES, *_SIGMAS, _PTR, _PTR, _PTR, _PTR],
    "segtool_lattice_neighbors": [_PTR, _PTR],
    "segtool_lattice_free": [_PTR],
    "segtool_filter": [_PTR] * 4 + [_I64] * 4 + [_INT, _INT, _PTR],
    "segtool_points_build": [_PTR, _I64, _I64, _PTR, _PTR, _PTR, _PTR],
    "segtool_points_filter": [_PTR] * 4 + [_I64] * 4 + [_INT, _INT, _PTR],
    "segtool_spatial_filter": [_PTR] + [_I64] * 4 + [_F64, _PTR],
    "segtool_mean_field_update": [_PTR] * 5 + [_I64] * 3 + [_INT, _INT, _PTR],
    "segtool_mean_field": [_PTR, _PTR] + [_I64] * 4 + [_F64] * 3 + [_PTR, _PTR, _INT, _PTR],
    "segtool_cuda_lattice_workspace": [*_SIZES, _I64],
    "segtool_cuda_lattice_insert": [_PTR, *_SIZES, *_SIGMAS, _I64] + [_PTR] * 5,
    "segtool_cuda_lattice_link": [_PTR, *_SIZES, *_SIGMAS, _I64, _I64] + [_PTR] * 6,
    "segtool_cuda_filter_workspace": [_I64, _I64, _INT],
    "segtool_cuda_filter": [_PTR] * 5 + [_I64] * 4 + [_INT] * 3 + [_PTR] * 3,
    "segtool_cuda_spatial_workspace": [_I64] * 4 + [_F64],
    "segtool_cuda_spatial_filter": [_PTR] + [_I64] * 4 + [_F64] + [_PTR] * 3,
    "segtool_cuda_mean_field_update": [_PTR] * 5 + [_I64] * 3 + [_INT, _INT, _PTR, _PTR],
    "segtool_cuda_mean_field_workspace": [_I64] * 4 + [_F64, _I64, _INT],
    "segtool_cuda_mean_field": [_PTR] * 2 + [_I64] * 4 + [_F64] * 3 + [_PTR] * 2 + [_INT, _I64, _INT] + [_PTR] * 4,
}


def library_path() -> Path:
    """Where the shared library lies; it is also ONNX Runtime's custom operator library.

    Raises:
        SegtoolError: it was not built.
    """
    return native_library("segtool.crf", "segtool_bilateral")


@cache
def library() -> ctypes.CDLL:
    """The installed library."""
    return load(library_path())


def load(path: Path) -> ctypes.CDLL:
    """Loads a build of the library.

    Raises:
        SegtoolError: it was built from other sources.
    """
    lib = load_library(path, _ARGUMENTS)
    lib.segtool_error_message.restype = ctypes.c_char_p
    for name in _ARGUMENTS:
        if name.endswith("_workspace"):
            getattr(lib, name).restype = _I64
    return lib


def library_on(threads: int) -> ctypes.CDLL:
    """The installed library, whose next calls from this thread use so many threads; 0: as many as OMP_NUM_THREADS says,
    or as the process has cores.

    Raises:
        SegtoolError: a negative number.
    """
    lib = library()
    check(lib.segtool_limit_threads(threads))
    return lib


def check(status: int) -> None:
    """Raises SegtoolError with the library's message if a call failed."""
    if status:
        raise SegtoolError(library().segtool_error_message().decode())


def has_cuda() -> bool:
    """Whether the library was compiled with CUDA kernels (not whether a device is present)."""
    return bool(library().segtool_has_cuda())


def cuda_call(name: str, *arguments: object) -> int:
    """Calls a CUDA entry of `api.h` by name, on device addresses; `*_workspace` give bytes.

    Raises:
        SegtoolError: the call was refused.
    """
    result = int(getattr(library(), name)(*arguments))
    check(result < 0 if name.endswith("_workspace") else result)
    return result
