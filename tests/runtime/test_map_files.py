"""Files of maps: what cannot be read is refused, what cannot be written whole is not there."""

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.transform import from_origin

from segtool.errors import NoMoreRoom, SegtoolError
from segtool.gdal import rasterio_api
from segtool.runtime.maps.reading import opened
from segtool.runtime.maps.segment import Part
from segtool.runtime.maps.writing import note_of_map, write_labels

from .test_maps import geotiff, image

__all__ = ["image"]  # the fixture


def test_maps_that_cannot_be_read(tmp_path, image):
    (tmp_path / "a.tif").write_text("hello")
    (tmp_path / "a.vrt").write_text("<VRTDataset rasterXSize='1' rasterYSize='1'/>")  # names other files
    deep = geotiff(tmp_path / "b.tif", image.astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(image).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(image).convert("1").save(tmp_path / "bits.tif")
    Image.fromarray(image).convert("LAB").save(tmp_path / "lab.tif")
    for path, said in (
        (tmp_path / "a.tif", "not an image whose bands can be read"),
        (tmp_path / "a.vrt", "not an image whose bands can be read"),
        (tmp_path / "none.tif", "cannot read the file"),
        (deep, "an image of uint16"),
        (tmp_path / "turned.jpg", "an image that EXIF turns"),
        (tmp_path / "palette.png", "an image with a palette"),
        (tmp_path / "bits.tif", "1 bits"),
        (tmp_path / "lab.tif", r"L\*a\*b\*"),
    ):
        with pytest.raises(SegtoolError, match=said), opened(path):
            pass
    path = geotiff(tmp_path / "c.tif", image, compress="deflate")
    data = bytearray(path.read_bytes())
    data[len(data) // 4 : len(data) // 2] = b"\xff" * (len(data) // 2 - len(data) // 4)
    path.write_bytes(data)
    with pytest.raises(SegtoolError, match="a part of the image cannot be read: .*c.tif, rows"), opened(path) as source:
        source.read(slice(0, 400), slice(0, 520))


def test_nothing_is_left_of_a_map_that_fails(tmp_path, image):
    def parts():
        yield Part(
            slice(0, 10),
            slice(0, 10),
            np.zeros((10, 10), np.uint8),
            np.ones((10, 10), np.float32),
            np.zeros((10, 10), np.uint8),
        )
        raise SegtoolError("enough")

    with opened(geotiff(tmp_path / "map.tif", image)) as source, pytest.raises(SegtoolError, match="enough"):
        write_labels(tmp_path / "out.tif", source, parts(), [], "")
    assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]


def everything(image, value=3):
    rows, columns = slice(0, image.shape[0]), slice(0, image.shape[1])
    labels = np.full(image.shape[:2], value, np.uint8)
    yield Part(rows, columns, labels, np.ones(image.shape[:2], np.float32), labels)


def test_a_cut_png_is_not_read_as_whatever_was_in_memory(tmp_path, image):
    Image.fromarray(image).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 3])
    with pytest.raises(SegtoolError, match="a part of the image cannot be read"), opened(tmp_path / "a.png") as source:
        source.read(slice(0, image.shape[0]), slice(0, image.shape[1]))


def test_places_without_a_coordinate_system(tmp_path, image):
    transform = from_origin(3, 4, 0.5, 0.5)
    points = [GroundControlPoint(r, c, 10.0 + c, 50.0 - r) for r, c in ((0, 0), (0, 100), (100, 0), (100, 100))]
    for name, options in (("a", {"crs": None, "transform": transform}), ("b", {"gcps": points, "transform": None})):
        with opened(geotiff(tmp_path / f"{name}.tif", image, **options)) as source:
            write_labels(tmp_path / f"{name}_out.tif", source, everything(image), [], "x")
    with rasterio.open(tmp_path / "a_out.tif") as file:
        assert file.transform == transform
    with rasterio.open(tmp_path / "b_out.tif") as file:
        assert len(file.gcps[0]) == 4
        assert file.gcps[1] == "EPSG:32633"


def test_a_map_that_was_cut_is_not_whole(tmp_path, image):
    noise = np.random.default_rng(0).integers(0, 200, image.shape[:2], np.uint8)
    part = next(everything(image))._replace(labels=noise)
    with opened(geotiff(tmp_path / "map.tif", image)) as source:
        write_labels(tmp_path / "out.tif", source, [part], [], "a note")
    assert note_of_map(tmp_path / "out.tif") == "a note"
    data = (tmp_path / "out.tif").read_bytes()
    for share in (0.3, 0.6, 0.95):
        (tmp_path / "out.tif").write_bytes(data[: int(len(data) * share)])
        assert note_of_map(tmp_path / "out.tif") == ""


@pytest.mark.parametrize("kind", ["silent", "an error of GDAL's own"])
def test_a_disk_that_fills_leaves_no_map(tmp_path, image, monkeypatch, kind):
    """GDAL may write half of a file and say nothing, or raise what is no public class."""
    real = rasterio_api().shutil.copy

    def fails(source, target, **options):
        real(source, target, **options)
        if kind != "silent":
            raise RuntimeError("CPLE: no space left")
        with open(target, "r+b") as file:
            file.truncate(file.seek(0, 2) // 2)

    monkeypatch.setattr(rasterio_api().shutil, "copy", fails)
    with (
        opened(geotiff(tmp_path / "map.tif", image)) as source,
        pytest.raises(NoMoreRoom, match="cannot write the map"),
    ):
        write_labels(tmp_path / "out.tif", source, everything(image), [], "x")
    assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]
