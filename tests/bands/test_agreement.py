"""What has no data, and what guides the CRF, is the same wherever an image is read."""

import io
import struct

import numpy as np
import pytest
import rasterio
import tifffile
import torch
from PIL import Image

from segtool import bands
from segtool.data import open_dataset
from segtool.data.checks.inspection import check_all
from segtool.errors import NoMoreRoom, SegtoolError
from segtool.images import TooManyPixels
from segtool.input_contract import InputContract
from segtool.rasters import check_raster, read_raster
from segtool.readers import BandReader, reader_of
from segtool.runtime.bulk import map_worker
from segtool.runtime.bulk.storage import Storage
from segtool.runtime.bulk.worker import Work
from segtool.runtime.maps.reading import opened
from segtool.train.checkpoint_file import read_card
from segtool.train.config.presets import load_config
from segtool.train.networks import Segmenter
from segtool.train.stages.splits import check_splits, open_splits

from ..command_line import segtool
from ..conftest import TINY
from .files import five_bands, folder_of_bands, write_bands

EVERYTHING = slice(0, 40), slice(0, 40)


def contract(kind, nodata=None, count=2):
    numbers = {"mean": (90.0,) * count, "std": (9.0,) * count, "low": (0.0,) * count, "high": (255.0,) * count}
    three = {"shown": (1, count, count), "guide": (count, 1, 1)}
    return InputContract(bands=tuple(range(1, count + 1)), kind=kind, nodata=nodata, **numbers, **three)


def image(kind, gap):
    found = np.random.default_rng(0).integers(50, 200, (40, 40, 3)).astype(kind)
    found[:20, :20, :2] = gap  # the third band, which no model here reads, has data there
    return found


CASES = {
    "NaN": (image("float32", np.nan), {}, None),
    "infinite": (image("float32", np.inf), {}, None),
    "NaN as nodata": (image("float32", np.nan), {"nodata": np.nan}, None),
    "nodata": (image("float32", -9), {"nodata": -9}, None),
    "uint16": (image("uint16", 0), {"nodata": 0}, 0),
    "uint16, another number than the model's": (image("uint16", 7), {"nodata": 7}, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_maps_and_images_have_the_same_gaps(tmp_path, name):
    array, options, nodata = CASES[name]
    path = write_bands(tmp_path / "a.tif", array, **options)
    taken = contract(str(array.dtype), nodata)
    read = reader_of(taken).open(path)
    assert read.missing.sum() == 400
    with opened(path, None, taken) as source:
        assert np.array_equal(source.missing(*EVERYTHING), read.missing)
        assert np.array_equal(source.read(*EVERYTHING), read.values, equal_nan=str(array.dtype) == "float32")


@pytest.mark.parametrize("kind", ["float32", "uint16"])
def test_masks_inside_files(tmp_path, kind):
    path = tmp_path / "a.tif"
    about = {"driver": "GTiff", "height": 40, "width": 40, "count": 2, "dtype": kind}
    mask = np.full((40, 40), 255, np.uint8)
    mask[:20, :20] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **about) as file:
        file.write(image(kind, 60)[..., :2].transpose(2, 0, 1))
        file.write_mask(mask)
    taken = contract(kind, 0 if kind == "uint16" else None)
    read = reader_of(taken).open(path)
    assert np.array_equal(read.missing, mask == 0)
    with opened(path, None, taken) as source:
        assert np.array_equal(source.missing(*EVERYTHING), mask == 0)
        assert np.array_equal(source.read(*EVERYTHING), read.values, equal_nan=kind == "float32")


@pytest.mark.parametrize("name", CASES)
def test_what_guides_the_crf_is_the_same_in_numpy_and_torch(name):
    array, _, nodata = CASES[name]
    array = np.where(np.isinf(array), np.nan, array)[..., :2].astype(array.dtype)
    array[30, 30, 0] = np.nan if array.dtype == np.float32 else 0  # a gap in one band alone
    taken = contract(str(array.dtype), nodata)
    tensor = torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1)[None]
    guide = Segmenter(torch.nn.Identity(), taken).guide(tensor)[0].permute(1, 2, 0).numpy()
    assert np.allclose(bands.guide(array, taken), guide, atol=1e-3)


def test_a_constant_band_of_large_numbers_is_no_division_by_zero():
    low, high = bands.limits(np.full((10, 1), 3e7, np.float32))
    taken = InputContract(
        bands=(1,), kind="float32", mean=(3e7,), std=(1.0,), low=low, high=high, shown=(1, 1, 1), guide=(1, 1, 1)
    )
    assert torch.isfinite(Segmenter(torch.nn.Identity(), taken).guide(torch.full((1, 1, 4, 4), 3e7))).all()
    with pytest.raises(ValueError, match="in single precision"):
        InputContract(**{**taken.model_dump(), "low": (3e7,), "high": (3e7 + 1,)})


def test_a_fourth_band_that_gdal_takes_for_transparency(tmp_path):
    four = np.random.default_rng(0).integers(0, 256, (32, 32, 4), np.uint8)
    spec = folder_of_bands(tmp_path, lambda picture, i: four, "all", counts=(2, 1), side=32)
    assert read_raster(tmp_path / "train" / "images" / "0.tif", (1, 2, 3, 4)).missing is None
    doubts = " ".join(map(str, check_all(open_dataset(spec, "train"), open_dataset(spec, "val")).doubts))
    assert "band 4 is called transparency, and has 2" in doubts


def test_tiles_in_pytorch(bands_run, tmp_path):
    images = bands_run / "data" / "val" / "images"
    for model in ("model.onnx", "model.safetensors"):
        done = segtool("predict", bands_run / model, images, "--out", model, "--tile", "32x32", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    masks = [np.array(Image.open(tmp_path / model / "0.png")) for model in ("model.onnx", "model.safetensors")]
    assert np.mean(masks[0] == masks[1]) > 0.999


def test_splits_of_other_bands(tmp_path):
    spec = folder_of_bands(tmp_path, five_bands, counts=(2, 2))
    for name in "01":
        write_bands(tmp_path / "val" / "images" / f"{name}.tif", np.ones((64, 64, 6), np.uint16))
    config = load_config("quickstart", [])
    said = "images of 6 bands of uint16; training images have 5 of uint16"
    with pytest.raises(SegtoolError, match=said):
        check_splits(*open_splits(spec, config), config, None)
    assert said in segtool("data", "check", spec, cwd=tmp_path).stdout


def test_a_run_from_a_checkpoint_has_other_bands_guide_the_crf(tmp_path):
    spec = folder_of_bands(tmp_path / "data", five_bands, counts=(2, 1))
    settings = [option for setting in TINY for option in ("--set", setting)]
    train = ("train", "--preset", "quickstart", "--data", spec, *settings)
    assert segtool(*train, "--stages", "unary", "--out", "a", cwd=tmp_path).returncode == 0
    more = ("--from", "a", "--stages", "crf", "--set", "crf.bands=[4,5,1]", "--out", "b")
    ended = segtool(*train, *more, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    first, second = (read_card(tmp_path / name / "model.safetensors").input for name in "ab")
    assert (first.guide, second.guide) == ((1, 2, 3), (4, 5, 1))
    assert first.model_copy(update={"guide": second.guide}) == second


def test_a_full_disk_is_no_fault_of_a_map(bands_run, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise NoMoreRoom("cannot write the map")

    monkeypatch.setattr(map_worker, "segment_file", full)
    images = bands_run / "data" / "val" / "images"
    work = Work(Storage.at(str(images)), Storage.at(str(tmp_path)), str(bands_run / "model.onnx"))
    with pytest.raises(OSError, match="cannot write the map"):
        map_worker.MapWorker(work)({"path": np.array(["0.tif"]), "name": np.array(["0"])})
    assert not [*tmp_path.rglob("*.parquet")]


def test_strangers_files_are_refused_before_they_take_time_or_memory():
    pages = io.BytesIO()
    with tifffile.TiffWriter(pages) as file:
        for _ in range(400):
            file.write(np.zeros((1, 1), np.uint8))
    check_raster(pages.getvalue(), 1000)
    with pytest.raises(SegtoolError, match="a file of 400 bands: .*choose 32 of them"):
        BandReader().decode(pages.getvalue(), 1000)
    assert BandReader((399, 400)).decode(pages.getvalue(), 1000).values.shape == (1, 1, 2)
    bomb = tile_bomb(65520)
    with pytest.raises(TooManyPixels):
        check_raster(bomb, 10**6)
    with pytest.raises(TooManyPixels):
        read_raster(bomb)


def tile_bomb(side):
    """A TIFF of 100 x 100 pixels in one tile of another size."""
    tags = [
        (256, 4, 100),
        (257, 4, 100),
        (258, 3, 8),
        (259, 3, 8),
        (262, 3, 1),
        (277, 3, 1),
        (322, 4, side),
        (323, 4, side),
    ]
    tags += [(324, 4, 8), (325, 4, 4)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return struct.pack("<2sHI", b"II", 42, 12) + b"\0" * 4 + struct.pack("<H", len(tags)) + entries + b"\0" * 4
