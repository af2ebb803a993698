"""Bands are read as the libraries that wrote them read them."""

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image

from segtool import bands
from segtool.errors import SegtoolError
from segtool.images import TooManyPixels, read_image
from segtool.input_contract import InputContract
from segtool.rasters import read_raster
from segtool.readers import BandReader, reader_of

from .files import write_bands

TILED = {"tiled": True, "blockxsize": 16, "blockysize": 16}
RANDOM = np.random.default_rng(0)
FIVE = RANDOM.integers(0, 4096, (37, 53, 5), np.uint16)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16},
        {"interleave": "pixel"},
        {"nbits": 12},
    ],
    ids=str,
)
def test_numbers_are_those_that_rasterio_wrote(tmp_path, options):
    path = write_bands(tmp_path / "a.tif", FIVE, **options)
    assert np.array_equal(read_raster(path).values, FIVE)
    assert np.array_equal(read_raster(path, (5, 1)).values, FIVE[..., [4, 0]])
    assert np.array_equal(read_raster(path.read_bytes()).values, FIVE)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_pages_of_a_microscope_are_bands(tmp_path, kind):
    pages = RANDOM.integers(0, 100, (4, 20, 30)).astype(kind)
    tifffile.imwrite(tmp_path / "stack.tif", pages, photometric="minisblack")
    found = read_raster(tmp_path / "stack.tif").values
    assert found.dtype == (kind if kind in (np.uint8, np.uint16) else np.float32)
    assert np.array_equal(found, tifffile.imread(tmp_path / "stack.tif").transpose(1, 2, 0))


def test_transparency_is_no_band_and_says_where_there_are_no_data(tmp_path):
    pixels = RANDOM.integers(0, 256, (8, 9, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[:2, :3, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    raster = read_raster(tmp_path / "a.png")
    assert np.array_equal(raster.values, pixels[..., :3])
    assert np.array_equal(raster.missing, pixels[..., 3] == 0)
    assert np.array_equal(read_raster(tmp_path / "a.png", (4,)).values, pixels[..., 3:])


def test_no_data(tmp_path):
    numbers = FIVE.copy()
    numbers[:5, :6] = 7
    numbers[9, 9, 0] = 7  # in one band alone it is a number like any other
    raster = read_raster(write_bands(tmp_path / "a.tif", numbers, nodata=7))
    assert raster.missing.sum() == 30
    assert raster.missing[:5, :6].all()
    floating = numbers.astype(np.float32)
    floating[20, 20, 3], floating[21, 21, :] = np.inf, np.nan
    raster = read_raster(write_bands(tmp_path / "b.tif", floating, nodata=7))
    assert np.isnan(raster.values[:5, :6]).all()
    assert np.isnan(raster.values[20, 20, 3])
    assert raster.missing.sum() == 31


def test_what_cannot_be_read_is_said_in_a_line(tmp_path):
    Image.fromarray(FIVE[..., 0].astype(np.uint8)).convert("P").save(tmp_path / "palette.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(FIVE[..., :3].astype(np.uint8)).save(tmp_path / "turned.jpg", exif=exif)
    write_bands(tmp_path / "complex.tif", FIVE[..., :1].astype(np.complex64))
    write_bands(tmp_path / "good.tif", FIVE)
    with tifffile.TiffWriter(tmp_path / "sizes.tif") as file:
        for side in (8, 9):
            file.write(np.zeros((side, side), np.uint8))
    (tmp_path / "text.tif").write_text("hello")
    for name, wanted, said in (
        ("palette.png", (), "a palette has no bands"),
        ("turned.jpg", (), "EXIF turns"),
        ("complex.tif", (), "numbers of the kind complex64"),
        ("good.tif", (6,), r"there is no band 6: .*good.tif \(the file has the bands 1..5\)"),
        ("sizes.tif", (), "2 pages of several sizes or kinds, 8x8, 9x9"),
        ("text.tif", (), "not an image whose bands can be read"),
        ("none.tif", (), "cannot read the file"),
    ):
        with pytest.raises(SegtoolError, match=said):
            read_raster(tmp_path / name, wanted)
    with pytest.raises(TooManyPixels):
        read_raster(tmp_path / "good.tif", most=100)
    with pytest.raises(SegtoolError, match=r"not an image whose bands"):
        read_raster(b"hello")


def test_a_band_that_is_damaged_is_named(tmp_path):
    path = write_bands(tmp_path / "a.tif", FIVE, compress="deflate", interleave="band")
    with rasterio.open(path) as file:
        place = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=3))
    data = bytearray(path.read_bytes())
    data[place : place + 60] = b"\xff" * 60
    path.write_bytes(data)
    with pytest.raises(SegtoolError, match="band 3 cannot be read"):
        read_raster(path)
    assert np.array_equal(read_raster(path, (1, 2)).values, FIVE[..., :2])


def test_twelve_bits_in_a_file_of_sixteen_are_not_dark(tmp_path):
    shown = bands.own_picture(FIVE)
    assert shown.shape == (37, 53, 3)
    assert 100 < shown.mean() < 155
    grey = bands.own_picture(FIVE[..., :1])
    assert np.array_equal(grey[..., 0], grey[..., 2])


def test_a_picture_reader_says_how_to_read_bands(tmp_path):
    with pytest.raises(SegtoolError, match="bands: all in classes.yaml"):
        read_image(write_bands(tmp_path / "a.tif", FIVE))


def contract(**more):
    about = {"bands": (1, 2), "kind": "uint16", "mean": (500.0, 900.0), "std": (100.0, 50.0)}
    return InputContract(
        **{**about, "low": (0.0, 800.0), "high": (1000.0, 1000.0), "shown": (1, 1, 2), "guide": (2, 2, 1), **more}
    )


def test_what_a_model_takes_is_what_its_reader_gives(tmp_path):
    two = FIVE[..., :2]
    reader = reader_of(contract(nodata=9))
    path = write_bands(tmp_path / "a.tif", two, nodata=int(two[0, 0, 0]))
    values = reader.open(path).values
    assert values.dtype == np.uint16
    assert np.array_equal(values[1:], two[1:])
    for name, other, said in (
        ("kind", two.astype(np.float32), "an image of float32: .*trained on uint16"),
        ("count", two[..., :1], "there is no band 2"),
    ):
        with pytest.raises(SegtoolError, match=said):
            reader.open(write_bands(tmp_path / f"{name}.tif", other))
    assert BandReader().pixels(path) == 37 * 53


def test_levels_lie_between_low_and_high():
    image = np.array([[[0, 800], [500, 900], [2000, 700]]], np.uint16)
    assert bands.levels(image, contract(), (1, 2, 2))[0].tolist() == [[0, 0, 0], [127.5, 127.5, 127.5], [255, 0, 0]]
    floating = image.astype(np.float32)
    floating[0, 0, 0] = np.nan
    assert bands.picture(floating, contract(kind="float32"))[0, 0].tolist() == [0, 0, 0]
