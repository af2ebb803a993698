"""The Gaussian kernel of points with any features, on the permutohedral lattice, on numpy arrays."""

import ctypes
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.crf.library import check, library_on
from segtool.errors import SegtoolError

MOST_FEATURES = 16
Normalization = Literal["symmetric", "before", "after", "none"]
# The lattice is built for this share of the widths, because splatting and slicing blur too. By error of messages on
# dense points; from six features on lattices are so sparse that narrower cells only lose neighbours.
_NARROWING = {1: 0.975, 2: 0.975, 3: 0.975, 4: 0.975, 5: 0.96}
Array = NDArray[np.float32]


class PointLattice(NamedTuple):
    """vertex int32 [N,D+1], weight float32 [N,D+1], neighbor int32 [D+1,2,M]; M means "none"."""

    vertex: NDArray[np.int32]
    weight: Array
    neighbor: NDArray[np.int32]


def point_lattice(features: Array, threads: int = 0) -> PointLattice:
    """Builds the lattice of points.

    Args:
        features: [D,N], D of 1..16, divided by the kernel's standard deviations.
        threads: 0: as many as OMP_NUM_THREADS says, or as the process has cores. The bits are the same for any number.

    Raises:
        SegtoolError: no points, a feature that is not finite or too far from 0, another number of features.
    """
    if features.ndim != 2:
        raise SegtoolError("features must be [D,N]", where=f"shape {list(features.shape)}")
    dims, count = features.shape
    features = np.ascontiguousarray(features, np.float32)
    vertex, weight = np.empty((count, dims + 1), np.int32), np.empty((count, dims + 1), np.float32)
    lib, vertices, lattice = library_on(threads), ctypes.c_int64(), ctypes.c_void_p()
    outputs = vertex.ctypes.data, weight.ctypes.data, ctypes.byref(vertices), ctypes.byref(lattice)
    check(lib.segtool_points_build(features.ctypes.data, dims, count, *outputs))
    try:
        neighbor = np.empty((dims + 1, 2, vertices.value), np.int32)
        lib.segtool_lattice_neighbors(lattice, neighbor.ctypes.data)
    finally:
        lib.segtool_lattice_free(lattice)
    return PointLattice(vertex, weight, neighbor)


def point_filter(values: Array, lattice: PointLattice, reverse: bool = False, threads: int = 0) -> Array:
    """Filters values float32 [C,N] without any normalisation; `reverse` gives the exact adjoint."""
    values = np.ascontiguousarray(values, np.float32)
    count, corners = lattice.vertex.shape
    if values.ndim != 2 or values.shape[1] != count:
        raise SegtoolError(
            "values must be [C,N], of the lattice's points", where=f"{list(values.shape)}, {count} points"
        )
    out = np.empty_like(values)
    pointers = (lattice.vertex.ctypes.data, lattice.weight.ctypes.data, lattice.neighbor.ctypes.data)
    sizes = corners - 1, len(values), count, lattice.neighbor.shape[2], int(reverse), 0
    check(library_on(threads).segtool_points_filter(values.ctypes.data, *pointers, *sizes, out.ctypes.data))
    return out


class PointKernel:
    """The Gaussian kernel K_ij = exp(-|f_i - f_j|^2 / 2) of points, normalised; self pairs are part of it.

    Args:
        features: [D,N], divided by the standard deviations.
        normalization: symmetric: D^-1/2 K D^-1/2 with D = diag(K 1); before: K D^-1; after: D^-1 K; none: K.
        threads: see `point_lattice`.

    Raises:
        SegtoolError: see `point_lattice`.
    """

    def __init__(self, features: Array, normalization: Normalization = "symmetric", threads: int = 0) -> None:
        dims = len(features)
        narrowing = _NARROWING.get(dims, 1.0)
        self._lattice = point_lattice(np.asarray(features, np.float32) / np.float32(narrowing), threads)
        self._threads = threads
        self._before, self._after = self._factors(normalization, dims, narrowing)

    def __call__(self, values: Array) -> Array:
        """The kernel times values [C,N]."""
        found = point_filter(
            values if self._before is None else values * self._before, self._lattice, False, self._threads
        )
        return found if self._after is None else found * self._after

    def _factors(self, normalization: Normalization, dims: int, narrowing: float) -> tuple[Array | None, Array | None]:
        """What values are multiplied with before and after."""
        count = len(self._lattice.vertex)
        if normalization == "none":
            return None, np.full(count, _peak(dims, narrowing), np.float32)
        degree = point_filter(np.ones((1, count), np.float32), self._lattice, False, self._threads)[0]
        # Of a point far from all others it is positive, too: there is the point itself.
        if normalization == "symmetric":
            half = 1 / np.sqrt(degree)
            return half, half
        return (1 / degree, None) if normalization == "before" else (None, 1 / degree)


def _peak(dims: int, narrowing: float) -> float:
    """What makes the lattice's sums those of a kernel that is 1 at distance 0: both have the same integral.

    Blurring multiplies a sum by two along each of D+1 axes. In the features' units a vertex stands for the volume
    (D+1)^(D-1/2) / s^D, where s = sqrt(2/3) (D+1) / narrowing is the scale of the elevation.
    """
    scale = np.sqrt(2 / 3) * (dims + 1) / narrowing
    return float((2 * np.pi) ** (dims / 2) * scale**dims / ((dims + 1) ** (dims - 0.5) * 2 ** (dims + 1)))
