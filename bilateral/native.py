"""The native library through ctypes: on raw pointers (for bindings) and on numpy arrays.

The calls release Python's interpreter lock and may be made from several threads at once.
"""

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.bilateral.geometry import CORNERS
from segtool.errors import SegtoolError

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
_NAME = f"libsegtool_bilateral{_SUFFIX}"


class Lattice(NamedTuple):
    """vertex int32 [N*H*W,6], weight float32 [N*H*W,6], neighbor int32 [6,2,M]."""

    vertex: NDArray[np.int32]
    weight: NDArray[np.float32]
    neighbor: NDArray[np.int32]


def library_path() -> Path:
    """Where the shared library lies; it is also ONNX Runtime's custom operator library.

    Raises:
        SegtoolError: it was not built.
    """
    import segtool.bilateral

    for folder in segtool.bilateral.__path__:
        if (path := Path(folder) / _NAME).is_file():
            return path
    # An editable install keeps compiled files beside the installed packages, not beside the sources.
    for folder in sys.path:
        if (path := Path(folder) / "segtool" / "bilateral" / _NAME).is_file():
            return path
    raise SegtoolError("the native library was not found", where=_NAME, mend="reinstall segtool: pip install .")


@cache
def _library() -> ctypes.CDLL:
    lib = ctypes.CDLL(str(library_path()))
    i64, f64, ptr, int32 = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p, ctypes.c_int
    lib.segtool_error_message.restype = ctypes.c_char_p
    lib.segtool_lattice_build.argtypes = [ptr, i64, i64, i64, f64, f64, ptr, ptr, ptr, ptr]
    lib.segtool_lattice_neighbors.argtypes = [ptr, ptr]
    lib.segtool_lattice_free.argtypes = [ptr]
    lib.segtool_filter.argtypes = [ptr, ptr, ptr, ptr, i64, i64, i64, i64, int32, int32, ptr]
    lib.segtool_spatial_filter.argtypes = [ptr, i64, i64, i64, i64, f64, ptr]
    lib.segtool_mean_field_update.argtypes = [ptr, ptr, ptr, ptr, ptr, i64, i64, i64, int32, int32, ptr]
    lib.segtool_mean_field.argtypes = [ptr, ptr, i64, i64, i64, i64, f64, f64, f64, ptr, ptr, int32, ptr]
    lib.segtool_cuda_lattice_workspace.argtypes = [i64, i64, i64, i64]
    lib.segtool_cuda_lattice_workspace.restype = i64
    lib.segtool_cuda_lattice_build.argtypes = [
        ptr,
        i64,
        i64,
        i64,
        f64,
        f64,
        i64,
        ptr,
        ptr,
        ptr,
        ptr,
        ptr,
        ptr,
    ]
    lib.segtool_cuda_filter_workspace.argtypes = [i64, i64]
    lib.segtool_cuda_filter_workspace.restype = i64
    lib.segtool_cuda_filter.argtypes = [ptr, ptr, ptr, ptr, i64, i64, i64, i64, int32, ptr, ptr, ptr]
    return lib


def _check(status: int) -> None:
    if status:
        raise SegtoolError(_library().segtool_error_message().decode())


def has_cuda() -> bool:
    """Whether the library was compiled with CUDA kernels (not whether a device is present)."""
    return bool(_library().segtool_has_cuda())


def call(name: str, *arguments: object) -> int:
    """Calls a CUDA entry of `api.h` by name; negative sizes and non-zero statuses raise SegtoolError."""
    result = getattr(_library(), name)(*arguments)
    if name.endswith("_workspace"):
        _check(result < 0)
        return int(result)
    _check(result)
    return 0


def build_lattice(
    image: int,
    shape: tuple[int, int, int],
    spatial_sigma: float,
    color_sigma: float,
    vertex: int,
    weight: int,
    neighbor: Callable[[int], int],
) -> None:
    """Builds a lattice from and into raw addresses of CPU memory.

    Args:
        image: address of float32 [N,3,H,W], levels 0..255.
        shape: (N, H, W).
        vertex, weight: addresses of int32 and float32 [N*H*W,6], written.
        neighbor: called with M, returns the address of int32 [6,2,M] to write.
    """
    lib = _library()
    count, lattice = ctypes.c_int64(), ctypes.c_void_p()
    _check(
        lib.segtool_lattice_build(
            image,
            *shape,
            spatial_sigma,
            color_sigma,
            vertex,
            weight,
            ctypes.byref(count),
            ctypes.byref(lattice),
        )
    )
    try:
        lib.segtool_lattice_neighbors(lattice, neighbor(count.value))
    finally:
        lib.segtool_lattice_free(lattice)


def filter_pointers(
    values: int,
    lattice: tuple[int, int, int],
    shape: tuple[int, int, int, int],
    out: int,
    *,
    reverse: bool,
    channels_last: bool = False,
) -> None:
    """Filters float32 [N,C,pixels], or [N,pixels,C], at address `values`; shape is (N, C, pixels, M)."""
    _check(_library().segtool_filter(values, *lattice, *shape, int(reverse), int(channels_last), out))


def spatial_filter_pointers(values: int, shape: tuple[int, int, int, int], sigma: float, out: int) -> None:
    """Filters float32 [planes,height,width,inner] at address `values` with the spatial kernel."""
    _check(_library().segtool_spatial_filter(values, *shape, sigma, out))


def mean_field_update_pointers(
    inputs: Sequence[int], shape: tuple[int, int, int], out: int, *, normalize: bool, channels_last: bool
) -> None:
    """One local update; inputs are the addresses of unary, two messages, two tables; shape is (N, C, pixels)."""
    _check(_library().segtool_mean_field_update(*inputs, *shape, int(normalize), int(channels_last), out))


def bilateral_lattice(image: NDArray[np.float32], spatial_sigma: float, color_sigma: float) -> Lattice:
    """Builds the lattice of images [N,3,H,W] with levels 0..255.

    Raises:
        SegtoolError: an empty image, a level that is not finite or outside 0..255, a bad sigma.
    """
    image = np.ascontiguousarray(image, dtype=np.float32)
    if image.ndim != 4 or image.shape[1] != 3:
        raise SegtoolError("image must be [N,3,H,W]", where=f"shape {list(image.shape)}")
    n, _, height, width = image.shape
    vertex = np.empty((n * height * width, CORNERS), np.int32)
    weight = np.empty((n * height * width, CORNERS), np.float32)
    tables: list[NDArray[np.int32]] = []

    def neighbor(count: int) -> int:
        tables.append(np.empty((CORNERS, 2, count), np.int32))
        return tables[0].ctypes.data

    build_lattice(
        image.ctypes.data,
        (n, height, width),
        spatial_sigma,
        color_sigma,
        vertex.ctypes.data,
        weight.ctypes.data,
        neighbor,
    )
    return Lattice(vertex, weight, tables[0])


def bilateral_filter(values: NDArray[np.float32], lattice: Lattice, reverse: bool = False) -> NDArray[np.float32]:
    """Filters values [N,C,H,W]; `reverse` gives the exact adjoint."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    n, channels, height, width = values.shape
    if lattice.vertex.shape[0] != n * height * width:
        raise SegtoolError(
            "values and lattice are of different images",
            where=f"{n * height * width} and {lattice.vertex.shape[0]} pixels",
        )
    out = np.empty_like(values)
    pointers = (lattice.vertex.ctypes.data, lattice.weight.ctypes.data, lattice.neighbor.ctypes.data)
    shape = (n, channels, height * width, lattice.neighbor.shape[2])
    filter_pointers(values.ctypes.data, pointers, shape, out.ctypes.data, reverse=reverse)
    return out


def mean_field(
    logits: NDArray[np.float32],
    image: NDArray[np.float32],
    widths: tuple[float, float, float],
    tables: tuple[NDArray[np.float32], NDArray[np.float32]],
    iterations: int = 10,
) -> NDArray[np.float32]:
    """Mean-field inference of the dense CRF: Q after `iterations`, float32 [N,C,H,W].

    Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials" (2011).

    Args:
        logits: [N,C,H,W], of the unary term.
        image: [N,3,H,W], RGB levels 0..255.
        widths: spatial gamma (pixels), bilateral alpha (pixels) and beta (levels).
        tables: spatial and bilateral compatibility, [C,C]; w times the identity is the Potts model.

    Raises:
        SegtoolError: shapes that do not fit, a level outside 0..255, a width that is not positive.
    """
    logits, image, spatial, bilateral = (
        np.ascontiguousarray(array, dtype=np.float32) for array in (logits, image, *tables)
    )
    n, classes, height, width = logits.shape if logits.ndim == 4 else (0, 0, 0, 0)
    expected = [(n, 3, height, width), (classes, classes), (classes, classes)]
    if logits.ndim != 4 or [image.shape, spatial.shape, bilateral.shape] != expected:
        shapes = [list(a.shape) for a in (logits, image, spatial, bilateral)]
        raise SegtoolError("need logits [N,C,H,W], image [N,3,H,W] and two tables [C,C]", where=str(shapes))
    out = np.empty_like(logits)
    pointers = [array.ctypes.data for array in (logits, image, spatial, bilateral, out)]
    _check(
        _library().segtool_mean_field(*pointers[:2], *logits.shape, *widths, *pointers[2:4], iterations, pointers[4])
    )
    return out
