"""Polygons in a map's coordinates, as a file that geographic information systems read."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segtool.card import ClassInfo
from segtool.data.polygons.pieces import Piece, pieces, shapely_api
from segtool.errors import NoMoreRoom, SegtoolError
from segtool.extras import needed
from segtool.files import atomic_path
from segtool.gdal import gdal

MapFormat = Literal["geojson", "gpkg"]
_DRIVERS = {"geojson": "GeoJSON", "gpkg": "GPKG"}
_LAYER = "labels"


def check_installed() -> None:
    """Before hours of work: whether polygons of maps can be made.

    Raises:
        SegtoolError: a library is missing.
    """
    needed("rasterio.features", "polygons", "data")
    shapely_api()
    _pyogrio()


def write_map_polygons(
    form: MapFormat, labels: Path, path: Path, classes: Sequence[ClassInfo], simplify: float, smallest: int
) -> int:
    """Writes the polygons of a map, each with the id and name of its class and its pixels; returns how many.

    They are in the coordinates of the map; of one that does not say where it lies in pixels, rows downwards.

    Args:
        labels: a GeoTIFF of class ids.
        path: is written, whole or not at all.
        classes: of which polygons are made.
        simplify, smallest: see `pieces`.

    Raises:
        SegtoolError: a library is missing, the map has ground control points alone, or the file cannot be written.
    """
    with gdal() as rasterio, rasterio.open(labels, driver="GTiff") as file:
        if file.gcps[0]:
            mend = "warp it first, such as with gdalwarp"
            raise SegtoolError("polygons need coordinates, not ground control points", where=labels, mend=mend)
        ids, transform, system = file.read(1), file.transform, file.crs
    if system is None and form == "geojson" and not transform.is_identity:
        mend = "--format gpkg, or give the map one"
        raise SegtoolError("GeoJSON cannot say that a map has no coordinate system", where=labels, mend=mend)
    found = pieces(ids, [c.id for c in classes], simplify, smallest)
    names = {c.id: c.name for c in classes}
    fields = {
        "id": np.array([piece.label for piece in found], np.int32),
        "class": np.array([names[piece.label] for piece in found], object),
        "pixels": np.array([piece.pixels for piece in found], np.int64),
    }
    shapes = np.array([*_as_wkb(found, transform)], object)
    with atomic_path(path) as temporary:
        _write(temporary, path, _DRIVERS[form], shapes, fields, None if system is None else system.to_wkt())
    return len(found)


def _as_wkb(found: Sequence[Piece], transform: Any) -> Iterator[bytes]:
    shapely = shapely_api()
    for piece in found:
        rings = [np.column_stack(transform @ ring.T) for ring in (piece.outer, *piece.holes)]
        yield shapely.to_wkb(shapely.Polygon(rings[0], rings[1:]))


def _write(temporary: Path, path: Path, driver: str, shapes: Any, fields: dict[str, Any], system: str | None) -> None:
    options = {"geometry_type": "Polygon", "crs": system, "driver": driver, "layer": _LAYER}
    try:
        with warnings.catch_warnings(action="ignore"):  # that a map has no coordinate system is known
            _pyogrio().write(temporary, shapes, [*fields.values()], [*fields], **options)
    except Exception as error:  # GDAL's, which share no public class
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NoMoreRoom("cannot write the polygons", where=path, mend=f"{reason}; choose another --out") from error


def _pyogrio() -> Any:
    return needed("pyogrio.raw", "polygons of maps", "data")
