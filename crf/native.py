"""The native library through ctypes: on raw pointers (for bindings) and on numpy arrays.

The calls release Python's interpreter lock and may be made from several threads at once.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.crf.geometry import CORNERS
from segtool.crf.library import check, library_on
from segtool.errors import SegtoolError


class Lattice(NamedTuple):
    """vertex int32 [N*H*W,6], weight float32 [N*H*W,6], neighbor int32 [6,2,M]."""

    vertex: NDArray[np.int32]
    weight: NDArray[np.float32]
    neighbor: NDArray[np.int32]


def build_lattice(
    image: int,
    shape: tuple[int, int, int],
    spatial_sigma: float,
    color_sigma: float,
    vertex: int,
    weight: int,
    neighbor: Callable[[int], int],
    threads: int = 0,
) -> None:
    """Builds a lattice from and into raw addresses of CPU memory.

    Args:
        image: address of float32 [N,3,H,W], levels 0..255.
        shape: (N, H, W).
        vertex, weight: addresses of int32 and float32 [N*H*W,6], written.
        neighbor: called with M, returns the address of int32 [6,2,M] to write.
        threads: see `library_on`; so everywhere here.
    """
    lib = library_on(threads)
    count, lattice = ctypes.c_int64(), ctypes.c_void_p()
    check(
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
    threads: int = 0,
) -> None:
    """Filters float32 [N,C,pixels], or [N,pixels,C], at address `values`; shape is (N, C, pixels, M)."""
    lib = library_on(threads)
    check(lib.segtool_filter(values, *lattice, *shape, int(reverse), int(channels_last), out))


def spatial_filter_pointers(
    values: int, shape: tuple[int, int, int, int], sigma: float, out: int, threads: int = 0
) -> None:
    """Filters float32 [planes,height,width,inner] at address `values` with the spatial kernel."""
    check(library_on(threads).segtool_spatial_filter(values, *shape, sigma, out))


def mean_field_update_pointers(
    inputs: Sequence[int],
    shape: tuple[int, int, int],
    out: int,
    *,
    normalize: bool,
    channels_last: bool,
    threads: int = 0,
) -> None:
    """One local update; inputs are the addresses of unary, two messages, two tables, 0 for none; shape is
    (N, C, pixels)."""
    lib = library_on(threads)
    check(lib.segtool_mean_field_update(*inputs, *shape, int(normalize), int(channels_last), out))


def bilateral_lattice(
    image: NDArray[np.float32], spatial_sigma: float, color_sigma: float, threads: int = 0
) -> Lattice:
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
        threads,
    )
    return Lattice(vertex, weight, tables[0])


def bilateral_filter(
    values: NDArray[np.float32], lattice: Lattice, reverse: bool = False, threads: int = 0
) -> NDArray[np.float32]:
    """Filters values [N,C,H,W]; `reverse` gives the exact adjoint.

    Raises:
        SegtoolError: arrays that are no lattice, or the lattice of other images.
    """
    values = np.ascontiguousarray(values, dtype=np.float32)
    if values.ndim != 4:
        raise SegtoolError("values must be [N,C,H,W]", where=f"shape {list(values.shape)}")
    n, channels, height, width = values.shape
    lattice = _checked(lattice, n * height * width)
    out = np.empty_like(values)
    pointers = (lattice.vertex.ctypes.data, lattice.weight.ctypes.data, lattice.neighbor.ctypes.data)
    shape = (n, channels, height * width, lattice.neighbor.shape[2])
    filter_pointers(values.ctypes.data, pointers, shape, out.ctypes.data, reverse=reverse, threads=threads)
    return out


def _checked(lattice: Lattice, pixels: int) -> Lattice:
    """The lattice as the library reads it, contiguous; it knows nothing of strides."""
    vertex, weight, neighbor = (np.asarray(array) for array in lattice)
    if [vertex.dtype, weight.dtype, neighbor.dtype] != [np.int32, np.float32, np.int32]:
        dtypes = f"{vertex.dtype}, {weight.dtype}, {neighbor.dtype}"
        raise SegtoolError("vertex and neighbor must be int32, weight float32", where=dtypes)
    if vertex.ndim != 2 or len(vertex) != pixels:
        raise SegtoolError("values and lattice are of different images", where=f"{pixels} and {len(vertex)} pixels")
    shapes = [vertex.shape, weight.shape, neighbor.shape]
    if shapes[:2] != [(pixels, CORNERS)] * 2 or neighbor.ndim != 3 or neighbor.shape[:2] != (CORNERS, 2):
        expected = f"vertex and weight [{pixels},{CORNERS}], neighbor [{CORNERS},2,M]"
        raise SegtoolError(f"a lattice has {expected}", where=str([list(shape) for shape in shapes]))
    return Lattice(np.ascontiguousarray(vertex), np.ascontiguousarray(weight), np.ascontiguousarray(neighbor))


def mean_field(
    logits: NDArray[np.float32],
    image: NDArray[np.float32],
    widths: tuple[float, float, float],
    tables: tuple[NDArray[np.float32], NDArray[np.float32]],
    iterations: int = 10,
    threads: int = 0,
) -> NDArray[np.float32]:
    """Mean-field inference of the dense CRF: Q after `iterations`, float32 [N,C,H,W].

    Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials" (2011).

    Args:
        logits: [N,C,H,W], of the unary term.
        image: [N,3,H,W], RGB levels 0..255.
        widths: spatial gamma (pixels), bilateral alpha (pixels) and beta (levels).
        tables: spatial and bilateral compatibility, [C,C]; w times the identity is the Potts model.
        threads: 0: as many as OMP_NUM_THREADS says, or as the process has cores. The bits are the same for any number.

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
    lib = library_on(threads)
    check(lib.segtool_mean_field(*pointers[:2], *logits.shape, *widths, *pointers[2:4], iterations, pointers[4]))
    return out
