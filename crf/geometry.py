"""Constants of the permutohedral lattice that every face must share bit for bit."""

import math
from dataclasses import dataclass

import numpy as np

DIMENSIONS = 5  # x, y, r, g, b
CORNERS = DIMENSIONS + 1  # vertices of a simplex, and axes of the blur
# The lattice is built for this share of the widths, because splatting and slicing blur too. Found by search: of the
# factors tried it gives the least error of messages, see docs/crf.md.
NARROWING = 0.96

Scales = tuple[float, float, float, float, float]


def feature_scale(spatial_sigma: float, color_sigma: float) -> Scales:
    """Multipliers of the raw features (x, y, r, g, b), in float32 precision.

    Computed in double from the float32 value of each sigma and rounded once, as `simplex.h` does.

    Args:
        spatial_sigma: standard deviation in pixels.
        color_sigma: standard deviation in grey levels of 0..255.
    """
    # The standard deviation of the [1 2 1] blur on the lattice, and a little finer than that asks for.
    expand = math.sqrt(2.0 / 3.0) * CORNERS / NARROWING
    sigmas = [float(np.float32(s)) for s in (spatial_sigma, spatial_sigma, *[color_sigma] * 3)]
    x, y, r, g, b = (float(np.float32(expand / math.sqrt((j + 1) * (j + 2)) / sigma)) for j, sigma in enumerate(sigmas))
    return x, y, r, g, b


def lattice_periods(spatial_sigma: float) -> tuple[float, float]:
    """After how many pixels to the right, and down, the lattice repeats: it moves onto itself where all coordinates of
    a vertex change by multiples of 6."""
    x, y, *_ = feature_scale(spatial_sigma, 1.0)
    return CORNERS / x, CORNERS / y


@dataclass(frozen=True)
class KeyPacking:
    """How a vertex is packed into one int64: mixed radix over its coordinates, then its remainder.

    A vertex with remainder k has coordinates 6 q_i + k. The digits q_i - low_i have strides
    `stride_i`, the remainder is the lowest digit (6 values), and images of a batch are `image_stride`
    apart. The ranges leave room for the neighbours, so that distinct vertices never share a key.
    """

    low: tuple[int, ...]
    stride: tuple[int, ...]
    image_stride: int

    @property
    def max_batch(self) -> int:
        """How many images fit into 63 bits."""
        return 2**63 // self.image_stride


def key_packing(spatial_sigma: float, color_sigma: float, side: int) -> KeyPacking:
    """The packing for images whose height and width are at most `side` pixels."""
    scale = feature_scale(spatial_sigma, color_sigma)
    reach = [s * f for s, f in zip(scale, (side, side, 255, 255, 255), strict=True)]
    low, radix = [], []
    for i in range(DIMENSIONS):
        lowest = -i * reach[i - 1] if i else 0.0
        low.append(math.floor(lowest / CORNERS) - 3)
        radix.append(math.ceil(sum(reach[i:]) / CORNERS) + 3 - low[-1])
    stride, step = [0] * DIMENSIONS, CORNERS
    for i in reversed(range(DIMENSIONS)):
        stride[i], step = step, step * radix[i]
    return KeyPacking(tuple(low), tuple(stride), step)
