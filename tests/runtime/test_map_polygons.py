"""Polygons of maps: in the map's coordinates, read by other libraries, and the same map again when they are drawn."""

import json
import sqlite3

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import rasterio.features
import shapely
from rasterio.control import GroundControlPoint
from rasterio.transform import from_origin

from segtool.card import ClassInfo
from segtool.data.polygons.maps import write_map_polygons
from segtool.errors import NoMoreRoom, SegtoolError

from ..command_line import segtool
from .test_maps import geotiff, image

__all__ = ["image"]  # the fixture
CLASSES = [ClassInfo(id=i, name=f"kind {i}", color=(i, 0, 0)) for i in range(4)]
PLACE = {"crs": "EPSG:32633", "transform": from_origin(412_345.5, 5_012_345.25, 0.25, 0.5)}


@pytest.fixture
def labels():
    """Blobs of four classes, holes in them, and void."""
    random = np.random.default_rng(3)
    found = np.kron(random.integers(0, 4, (12, 15)), np.ones((6, 5))).astype(np.uint8)
    found[20:30, 20:40], found[23:26, 25:30], found[:7] = 1, 2, 255
    return found


def written(path, labels, **options):
    height, width = labels.shape
    about = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 255, "height": height, "width": width}
    with rasterio.open(path, "w", **about, **{**PLACE, **options}) as file:
        file.write(labels, 1)
    return path


def drawn(path, shape):
    """The map that the polygons of a file make, as rasterio draws them."""
    about, _, shapes, (ids, names, pixels) = pyogrio.raw.read(path)
    assert [*about["fields"]] == ["id", "class", "pixels"]
    assert [*names] == [f"kind {i}" for i in ids]
    polygons = shapely.from_wkb(shapes)
    area = PLACE["transform"].a * -PLACE["transform"].e
    assert np.allclose(shapely.area(polygons), pixels * area)
    pairs = [(polygon, int(label)) for polygon, label in zip(polygons, ids, strict=True)]
    return about["crs"], rasterio.features.rasterize(
        pairs, shape, fill=255, transform=PLACE["transform"], dtype="uint8"
    )


@pytest.mark.parametrize("form", ["geojson", "gpkg"])
def test_drawn_again_they_are_the_map(tmp_path, labels, form):
    path, wanted = tmp_path / f"a.{form}", CLASSES[1:]
    count = write_map_polygons(form, written(tmp_path / "a.tif", labels), path, wanted, 0, 1)
    system, found = drawn(path, labels.shape)
    assert system == "EPSG:32633"
    assert np.array_equal(found, np.where(labels == 0, 255, labels))
    assert count == len(pyogrio.raw.read(path)[2])
    if form == "geojson":
        assert {f["properties"]["class"] for f in json.loads(path.read_text())["features"]} == {c.name for c in wanted}
    else:
        with sqlite3.connect(path) as file:
            assert file.execute("select count(*) from labels").fetchone() == (count,)


def test_a_map_without_a_place_has_polygons_in_pixels(tmp_path, labels):
    write_map_polygons(
        "geojson", written(tmp_path / "a.tif", labels, crs=None, transform=None), tmp_path / "a.geojson", CLASSES, 1, 1
    )
    x, y, right, bottom = shapely.total_bounds(shapely.from_wkb(pyogrio.raw.read(tmp_path / "a.geojson")[2]))
    assert (x, y, right, bottom) == (0, 7, labels.shape[1], labels.shape[0])


def test_nothing_is_left_of_polygons_that_cannot_be_written(tmp_path, labels):
    points = [GroundControlPoint(r, c, 10.0 + c, 50.0 - r) for r, c in ((0, 0), (0, 70), (70, 0), (70, 70))]
    with pytest.raises(SegtoolError, match=r"not ground control points: .*\(warp it first"):
        path = written(tmp_path / "gcps.tif", labels, gcps=points, transform=None)
        write_map_polygons("gpkg", path, tmp_path / "a.gpkg", CLASSES, 1, 1)
    (tmp_path / "full").mkdir()
    empty = written(tmp_path / "empty.tif", np.full((9, 9), 255, np.uint8))
    assert write_map_polygons("gpkg", empty, tmp_path / "empty.gpkg", CLASSES, 1, 1) == 0
    assert pyogrio.raw.read(tmp_path / "empty.gpkg")[0]["crs"] == "EPSG:32633"
    assert {path.name for path in tmp_path.iterdir()} == {"gcps.tif", "empty.tif", "empty.gpkg", "full"}
    with pytest.raises((NoMoreRoom, SegtoolError)):
        write_map_polygons("gpkg", empty, tmp_path / "empty.tif" / "a.gpkg", CLASSES, 1, 1)


def test_the_command_writes_them_beside_the_map_and_never_twice(with_logits, tmp_path, image):
    geotiff(tmp_path / "a.tif", image, **PLACE)
    command = ("predict", with_logits, "a.tif", "--out", "out", "--map", "--format", "gpkg", "--simplify", "0")
    assert segtool(*command, cwd=tmp_path).returncode == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.tif", "a.gpkg"}
    before = (tmp_path / "out" / "a.gpkg").read_bytes()
    again = segtool(*command, cwd=tmp_path)
    assert again.returncode == 2
    assert "there are polygons already: out/a.gpkg" in again.stderr
    resumed = segtool(*command, "--resume", cwd=tmp_path)
    assert "1 of 1 maps written to out, 1 of them before" in resumed.stdout
    assert (tmp_path / "out" / "a.gpkg").read_bytes() == before
    (tmp_path / "out" / "a.gpkg").unlink()
    assert "(" in segtool(*command, "--resume", cwd=tmp_path).stdout
    assert (tmp_path / "out" / "a.gpkg").exists()
    refused = segtool("predict", with_logits, "a.tif", "--out", "other", "--format", "gpkg", cwd=tmp_path)
    assert "--format gpkg is for maps" in refused.stderr
    assert not (tmp_path / "other").exists()
