"""The connected regions of a mask as polygons."""

from collections.abc import Collection, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.extras import needed

Outline = NDArray[np.float64]


class Piece(NamedTuple):
    """A connected region of one class.

    Attributes:
        label: the class id.
        outer: its outline [K,2], (x, y) in pixels from the image's top left corner; the last point is not the first.
        holes: outlines of what it surrounds.
        pixels: that it has in the mask.
    """

    label: int
    outer: Outline
    holes: tuple[Outline, ...]
    pixels: int


def pieces(labels: NDArray[np.uint8], wanted: Collection[int], simplify: float = 1.0, smallest: int = 1) -> list[Piece]:
    """The regions of a mask, each of pixels that touch at their sides.

    Args:
        labels: uint8 [H,W].
        wanted: the class ids that become polygons.
        simplify: how far outlines may be moved to need fewer points, in pixels: corners are left out that enclose less
            than its square. Neighbours are simplified alike, and neither overlap nor part (Visvalingam and Whyatt 1993,
            on coverages). 0: exactly around the pixels.
        smallest: regions of fewer pixels are left out, and holes are filled.

    Raises:
        SegtoolError: rasterio or shapely is not installed.
    """
    shapely = shapely_api()
    outlines, values = _outlines(labels, shapely)
    if not len(values):
        return []
    pixels = shapely.area(outlines).round().astype(int)
    if simplify:
        # Points at each pixel: simplifying needs those of a neighbour that ends in the middle of a straight line.
        outlines = shapely.coverage_simplify(shapely.segmentize(outlines, 1.0), simplify)
    chosen = [i for i, value in enumerate(values) if value in wanted and pixels[i] >= smallest]
    return [
        piece for i in chosen for piece in _as_pieces(outlines[i], int(values[i]), int(pixels[i]), smallest, shapely)
    ]


def _outlines(labels: NDArray[np.uint8], shapely: ModuleType) -> tuple[Any, NDArray[np.int64]]:
    """Polygons of all regions, whatever their class, and their values."""
    features = features_api()
    found = [(geometry, int(value)) for geometry, value in features.shapes(labels, connectivity=4)]
    polygons = [shapely.Polygon(g["coordinates"][0], g["coordinates"][1:]) for g, _ in found]
    return np.array(polygons, object), np.array([value for _, value in found], np.int64)


def _as_pieces(polygon: Any, label: int, pixels: int, smallest: int, shapely: ModuleType) -> Iterator[Piece]:
    """One piece; simplified shapes may fall apart at points where a region touches itself."""
    for part in shapely.get_parts(polygon):
        if part.geom_type == "Polygon" and not part.is_empty and part.area > 0:
            rings = (ring for ring in part.interiors if shapely.Polygon(ring).area >= min(smallest, pixels))
            holes = tuple(_points(ring) for ring in rings)
            yield Piece(label, _points(part.exterior), holes, pixels)


def _points(ring: Any) -> Outline:
    return np.asarray(ring.coords, np.float64)[:-1]


def features_api() -> ModuleType:
    """rasterio.features, or the error that says how to install it."""
    return needed("rasterio.features", "polygons", "data")


def shapely_api() -> ModuleType:
    """shapely, or the error that says how to install it."""
    return needed("shapely", "polygons", "data")
