"""Crops of large images: what is decoded is what a crop needs, and the crop is the same."""

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image

from segtool import readers
from segtool.data import open_dataset
from segtool.data.pairs import PairsDataset
from segtool.errors import SegtoolError
from segtool.train.augmentation import TrainingCrops
from segtool.train.cache import CachedDataset
from segtool.train.config.presets import load_config
from segtool.train.config.settings import DataConfig
from segtool.train.stages.splits import check_splits, open_splits

SHAPE = (640, 800)
CONFIG = DataConfig(crop=(64, 96), scale=(0.4, 1.3), rotate=5, noise=2)


def tiff(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, count = pixels.shape
    about = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": pixels.dtype}
    blocks = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    with rasterio.open(path, "w", **{**about, **blocks, **options}) as file:
        file.write(pixels.transpose(2, 0, 1))


@pytest.fixture
def large(tmp_path):
    """Writes an image and its mask as folder data: `large(bands, kind, suffix)`."""
    random = np.random.default_rng(0)
    labels = np.kron(random.integers(0, 3, (10, 10)), np.ones((64, 80))).astype(np.uint8)

    def write(count, kind=np.uint8, bands="", mask_kind=np.uint8, jpeg=False, **options):
        shade = random.integers(0, 200, (*labels.shape, count)) // 3 + 60 * labels[..., None]
        for split in ("train", "val"):
            place = tmp_path / split
            if jpeg:
                (place / "images").mkdir(parents=True)
                smooth = Image.fromarray(shade.astype(np.uint8)).reduce(8).resize(SHAPE[::-1], Image.Resampling.BICUBIC)
                smooth.save(place / "images" / "a.jpg", quality=95, **options)
            else:
                tiff(place / "images" / "a.tif", shade.astype(kind), **options)
            tiff(place / "masks" / "a.tif", labels.astype(mask_kind)[..., None])
        (tmp_path / "classes.yaml").write_text(f"classes: [a, b, c]\n{bands}")
        return f"folder:{tmp_path}"

    return write


def crops(spec, config=CONFIG, whole=False, monkeypatch=None):
    """Some crops of the only image."""
    if whole:
        monkeypatch.setattr(PairsDataset, "parted", lambda self, index: None)
    settings = load_config("quickstart", []).model_copy(update={"data": config})
    train, val = open_splits(spec, settings)
    contract = check_splits(train, val, settings, None).contract
    train.reader = readers.reader_of(contract)
    found = TrainingCrops(train, config, 3, contract)
    return [found[epoch] for epoch in range(12)]


@pytest.mark.parametrize(
    "how",
    [
        {"count": 3},
        {"count": 1},
        {"count": 3, "compress": "lzw", "interleave": "pixel"},
        {"count": 3, "tiled": False, "blockysize": 16},
        {"count": 4, "kind": np.uint16, "bands": "bands: all", "mask_kind": np.uint16, "nodata": 61},
        {"count": 2, "kind": np.float32, "bands": "bands: [2, 1]", "nodata": 60},
    ],
    ids=str,
)
def test_crops_are_those_of_the_whole_image(large, monkeypatch, how):
    spec = large(**how)
    dataset = open_dataset(spec, "train")
    assert dataset.parted(0) == (*SHAPE, False)
    part = dataset.load_part(0, slice(100, 300), slice(50, 90))
    for found, expected in zip(part, dataset.load(0).part(slice(100, 300), slice(50, 90)), strict=True):
        assert np.array_equal(found, expected, equal_nan=found.dtype == np.float32)
    parts, wholes = crops(spec), crops(spec, whole=True, monkeypatch=monkeypatch)
    for (image, labels), (expected, truth) in zip(parts, wholes, strict=True):
        assert torch.equal(image, expected)
        assert torch.equal(labels, truth)


def test_what_a_crop_does_not_need_is_not_decoded(large, tmp_path):
    spec = large(3)
    path = tmp_path / "train" / "images" / "a.tif"
    with rasterio.open(path) as file:
        place = int(file.get_tag_item("BLOCK_OFFSET_9_9", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[place : place + 40] = b"\xff" * 40
    path.write_bytes(data)
    dataset = open_dataset(spec, "train")
    with pytest.raises(SegtoolError):
        dataset.load(0)
    assert dataset.load_part(0, slice(0, 320), slice(0, 400)).image.shape == (320, 400, 3)
    with pytest.raises(SegtoolError, match="cannot be read"):
        dataset.load_part(0, slice(500, 600), slice(500, 600))


@pytest.mark.parametrize("side", [1002, 502, 333, 97])
@pytest.mark.parametrize("shrink", [1, 2, 4, 8])
def test_parts_of_a_jpeg_are_where_they_were_asked_for(tmp_path, side, shrink):
    """Of a picture whose level is its row, at a fraction of its size too."""
    rows = np.repeat((np.arange(side) * 255 // side).astype(np.uint8)[:, None], side, 1)
    Image.fromarray(np.repeat(rows[..., None], 3, 2)).save(tmp_path / "a.jpg", quality=98)
    start, stop = 16, min(side, 80)
    found = readers.PICTURES.open_part(tmp_path / "a.jpg", (slice(start, stop), slice(0, side)), shrink).values
    assert found.shape[0] == -(-stop // shrink) - start // shrink
    assert abs(float(found.mean()) - rows[start:stop].mean()) < 3


@pytest.mark.parametrize("turn", [2, 3, 6, 8])
def test_a_tiff_that_is_turned_is_decoded_whole(tmp_path, turn):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo={0x0112: turn})
    assert readers.PICTURES.parted(tmp_path / "a.tif") is None
    with pytest.raises(SegtoolError, match="EXIF turns"):
        readers.BandReader().open(tmp_path / "a.tif")


@pytest.mark.parametrize("turn", [1, 6])
def test_a_jpeg_is_decoded_at_a_fraction_of_its_size(large, monkeypatch, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    spec = large(3, jpeg=True, exif=exif)
    if turn == 6:  # the mask is that of the image as it is shown
        for split in ("train", "val"):
            path = open_dataset(spec, split, complete=False)._dataset._pairs[0].mask
            with rasterio.open(path) as file:
                turned = np.rot90(file.read(1), 3)
            tiff(path, np.ascontiguousarray(turned)[..., None])
    config = DataConfig(crop=(64, 96), scale=(0.15, 0.3), color_jitter=0)
    shapes, plain = [], readers.read_image

    def noted(path, *arguments, **options):
        image = plain(path, *arguments, **options)
        shapes.append(image.shape[:2])
        return image

    monkeypatch.setattr(readers, "read_image", noted)
    small = crops(spec, config)
    assert min(shapes) < (200, 200)
    full = crops(spec, config, whole=True, monkeypatch=monkeypatch)
    for (image, labels), (expected, truth) in zip(small, full, strict=True):
        assert (labels == truth).float().mean() > 0.94
        assert (image - expected).abs().mean() < 3


def test_crops_from_a_cache_on_disk(large, tmp_path, monkeypatch):
    spec = large(3)
    dataset = open_dataset(spec, "train")
    (tmp_path / "cache").mkdir()
    cache = CachedDataset(dataset, tmp_path / "cache")
    assert cache.parted(0) == (*SHAPE, False)
    for one, other in ((TrainingCrops(cache, CONFIG)[5], TrainingCrops(dataset, CONFIG)[5]),):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_files_of_which_parts_cannot_be_read_alike(large, tmp_path):
    """JPEG inside, 16 bits that become 8, transparency: another library might read other levels."""
    for how in (
        {"compress": "jpeg", "photometric": "ycbcr", "interleave": "pixel"},
        {"kind": np.uint16, "count": 1},
        {"count": 4, "alpha": "yes", "photometric": "rgb"},
    ):
        assert open_dataset(large(**{"count": 3, **how}), "train").parted(0) is None
