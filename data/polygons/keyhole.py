"""A polygon with holes as one closed line, for formats that know no holes."""

import numpy as np
from numpy.typing import NDArray

from segtool.data.polygons.pieces import Outline, Piece


def keyholed(piece: Piece) -> Outline:
    """The outline [K,2] with a slit of no width to each hole, which is drawn around the other way.

    A slit leads from a hole's leftmost point to the left, as far as the line that there is by then; holes come from the
    left to the right, so that it crosses none. (Eberly, "Triangulation by Ear Clipping", 2002, does it the other way
    around.) What fills the line, by its winding or by even and odd, leaves the holes out.
    """
    ring = piece.outer if _is_clockwise(piece.outer) else piece.outer[::-1]
    holes = [_from_the_left(hole[::-1] if _is_clockwise(hole) else hole) for hole in piece.holes]
    for hole in sorted(holes, key=lambda hole: (hole[0, 0], hole[0, 1])):
        edge, point = _to_the_left(ring, hole[0])
        ring = np.concatenate([ring[: edge + 1], [point], hole, [hole[0]], [point], ring[edge + 1 :]])
    return ring


def _is_clockwise(outline: Outline) -> bool:
    """By the shoelace formula, y downwards."""
    following = np.roll(outline, -1, axis=0)
    return float((outline[:, 0] * following[:, 1] - following[:, 0] * outline[:, 1]).sum()) > 0


def _from_the_left(outline: Outline) -> Outline:
    """The outline from its leftmost point on."""
    return np.roll(outline, -int(np.lexsort((outline[:, 1], outline[:, 0]))[0]), axis=0)


def _to_the_left(ring: Outline, point: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]]:
    """The edge, by the number of its first point, that a line from `point` to the left meets first, and where."""
    start, end = ring, np.roll(ring, -1, axis=0)
    x, y = point
    crosses = (start[:, 1] <= y) != (end[:, 1] <= y)
    with np.errstate(divide="ignore", invalid="ignore"):
        met = start[:, 0] + (y - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0])
    met = np.where(crosses & (met <= x), met, -np.inf)
    edge = int(np.argmax(met))
    return edge, np.array([met[edge], y])
