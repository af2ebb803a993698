"""The coarse map: its places, what lies at an offset from each, and the way from pixels to places and back.

A map [N,K,h,w] is kept as rows [N,P,K], one for each of the P = h w places.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Offset = tuple[int, int]  # rows down and columns to the right, in places

# Right, down to the right, down, down to the left: with their opposites, eight directions.
_DIRECTIONS = (0.0, 0.25 * math.pi, 0.5 * math.pi, 0.75 * math.pi)


def ring_offsets(radii: Sequence[int]) -> list[Offset]:
    """Where the second place of an edge lies, seen from the first: four directions at each radius.

    The other four come by themselves: an edge belongs to both its places. So of two places above each other the first
    is always the upper one, and a potential can tell "road below car" from "car below road".

    Args:
        radii: in places, each at least 1.
    """
    found = [(round(r * math.sin(angle)), round(r * math.cos(angle))) for r in radii for angle in _DIRECTIONS]
    return list(dict.fromkeys(found))  # small rings share their diagonals


def to_places(pixels: Tensor, factor: int) -> Tensor:
    """Means of [N,K,H,W] over squares of `factor` pixels, [N,K,ceil(H/factor),ceil(W/factor)]; what sticks out of the
    image does not count."""
    if factor == 1:
        return pixels
    height, width = pixels.shape[2:]
    missing = (0, _missing(width, factor), 0, _missing(height, factor))
    inside = F.avg_pool2d(F.pad(torch.ones_like(pixels[:1, :1]), missing), factor)
    return F.avg_pool2d(F.pad(pixels, missing), factor) / inside


def to_pixels(places: Tensor, factor: int, height: int, width: int) -> Tensor:
    """[N,K,ceil(height/factor),ceil(width/factor)] at every pixel, bilinear: [N,K,height,width]."""
    size = [factor * side for side in places.shape[2:]]
    larger = F.interpolate(places, size, mode="bilinear", align_corners=False)
    return larger[:, :, :height, :width]


def to_rows(maps: Tensor) -> Tensor:
    """[N,K,h,w] as [N,P,K]."""
    return maps.flatten(2).transpose(1, 2)


def to_map(rows: Tensor, height: int, width: int) -> Tensor:
    """[N,P,K] as [N,K,h,w]."""
    return rows.transpose(1, 2).reshape(rows.shape[0], rows.shape[2], height, width)


def neighbors(height: int, width: int, offsets: Sequence[Offset], like: Tensor) -> Tensor:
    """The place at each offset from each, int64 [D,P]; P where that is outside.

    Args:
        height, width: of the map, in places.
        like: on the device that the result is wanted on.
    """
    down, right = torch.tensor(offsets, device=like.device)[:, :, None, None].unbind(1)
    row = down + torch.arange(height, device=like.device)[:, None]
    column = right + torch.arange(width, device=like.device)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return torch.where(inside, row * width + column, height * width).flatten(1)


def edges_ending(neighbors_back: Tensor) -> Tensor:
    """The edge of each offset that ends at each place, int64 [D,P], counted as edges [D,P] in one row are. Where there
    is none, one that does not exist: the first that begins at the last place, from where every offset leads outside.

    Args:
        neighbors_back: the place at the opposite of each offset, see `neighbors`.
    """
    depth, places = neighbors_back.shape
    first = places * torch.arange(depth, device=neighbors_back.device)[:, None]
    return torch.where(neighbors_back < places, first + neighbors_back, places - 1)


def take(rows: Tensor, index: Tensor) -> Tensor:
    """The rows [N,D,P,K] of [N,R,K] that an index [D,P] names."""
    return rows.index_select(1, index.flatten()).unflatten(1, index.shape)  # type: ignore[no-untyped-call]


def take_or(rows: Tensor, index: Tensor, other: float) -> Tensor:
    """`take`; where the index names row R, which there is not, `other`."""
    return take(F.pad(rows, (0, 0, 0, 1), value=other), index)


def _missing(side: int, factor: int) -> int:
    """How much a side lacks to be a multiple."""
    # Not by the remainder of -side: TensorRT takes that for a size that may be negative.
    return (side + factor - 1) // factor * factor - side
