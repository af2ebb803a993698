"""The two kernels of images: exact or on the image lattice where they can be, on the lattice of points otherwise."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segtool.crf import native
from segtool.crf.points import Normalization, PointKernel
from segtool.densecrf.utils import create_pairwise_bilateral, create_pairwise_gaussian

Array = NDArray[np.float32]
Kernel = Callable[[Array], Array]


def spatial_kernel(
    height: int, width: int, widths: tuple[float, ...], normalization: Normalization, threads: int = 0
) -> Kernel:
    """The Gaussian of pixels' places; where it is round and normalised symmetrically, without approximation.

    Args:
        widths: standard deviations along x and y, pixels.
        threads: see `segtool.crf.points.point_lattice`.
    """
    if widths[0] == widths[1] and normalization == "symmetric":
        return _Separable(height, width, widths[0], threads)
    return PointKernel(create_pairwise_gaussian((widths[1], widths[0]), (height, width)), normalization, threads)


def bilateral_kernel(
    image: NDArray[np.uint8],
    widths: tuple[float, ...],
    colors: tuple[float, ...],
    normalization: Normalization,
    threads: int = 0,
) -> Kernel:
    """The Gaussian of pixels' places and colours.

    Args:
        image: [H,W,3].
        widths: standard deviations along x and y, pixels.
        colors: those of red, green and blue, levels.
        threads: see `segtool.crf.points.point_lattice`.
    """
    if len({*widths}) == len({*colors}) == 1 and normalization == "symmetric":
        return _Bilateral(image, widths[0], colors[0], threads)
    features = create_pairwise_bilateral((widths[1], widths[0]), colors, image, chdim=2)
    return PointKernel(features, normalization, threads)


class _Separable:
    def __init__(self, height: int, width: int, sigma: float, threads: int) -> None:
        self._height, self._width, self._sigma, self._threads = height, width, sigma, threads

    def __call__(self, values: Array) -> Array:
        values, out = np.ascontiguousarray(values), np.empty_like(values)
        shape = len(values), self._height, self._width, 1
        native.spatial_filter_pointers(values.ctypes.data, shape, self._sigma, out.ctypes.data, self._threads)
        return out


class _Bilateral:
    def __init__(self, image: NDArray[np.uint8], spatial_sigma: float, color_sigma: float, threads: int) -> None:
        planes = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
        self._lattice = native.bilateral_lattice(planes, spatial_sigma, color_sigma, threads)
        self._shape, self._threads = image.shape[:2], threads

    def __call__(self, values: Array) -> Array:
        found = native.bilateral_filter(
            values.reshape(1, len(values), *self._shape), self._lattice, threads=self._threads
        )
        return found.reshape(len(values), -1)
