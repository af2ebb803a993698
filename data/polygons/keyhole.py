"""A polygon with holes as one closed line, for formats that know no holes."""

from typing import Any

import numpy as np

from segtool.data.polygons.pieces import Outline, Piece, shapely_api


def keyholed(piece: Piece) -> Outline:
    """The outline [K,2] with a slit of no width to each hole, which is drawn around the other way.

    The shortest way to the nearest hole crosses no other one. What fills the line, by its winding or by even and odd,
    leaves the holes out.
    """
    shapely = shapely_api()
    ring = piece.outer if _is_clockwise(piece.outer) else piece.outer[::-1]
    holes = [hole[::-1] if _is_clockwise(hole) else hole for hole in piece.holes]
    while holes:
        lines = [_closed(hole, shapely) for hole in holes]
        around = _closed(ring, shapely)
        nearest = int(np.argmin(shapely.distance(around, np.array(lines, object))))
        start, end = np.asarray(shapely.shortest_line(around, lines[nearest]).coords)
        hole = _begun_at(holes.pop(nearest), end, lines[nearest], shapely)
        before = _points_before(ring, start, around, shapely)
        ring = np.concatenate([ring[:before], [start], hole, [end], [start], ring[before:]])
    return ring


def _is_clockwise(outline: Outline) -> bool:
    """By the shoelace formula."""
    following = np.roll(outline, -1, axis=0)
    return float((outline[:, 0] * following[:, 1] - following[:, 0] * outline[:, 1]).sum()) > 0


def _closed(outline: Outline, shapely: Any) -> Any:
    return shapely.LineString(np.concatenate([outline, outline[:1]]))


def _points_before(outline: Outline, point: Outline, line: Any, shapely: Any) -> int:
    """How many points of an outline come before a place on it."""
    lengths = np.linalg.norm(np.diff(outline, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    return int(np.searchsorted(along, line.project(shapely.Point(point)), side="right"))


def _begun_at(outline: Outline, point: Outline, line: Any, shapely: Any) -> Outline:
    """An outline from a place on it on."""
    before = _points_before(outline, point, line, shapely)
    return np.concatenate([[point], outline[before:], outline[:before]])
