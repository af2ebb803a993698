"""Maps: tiles and windows leave no seams, the place on earth stays, memory does not grow with the map."""

import itertools

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin
from torch import nn

from segtool.card import ClassInfo, CrfCard, ModelCard, TrainedOn
from segtool.crf.layer import DenseCRF
from segtool.crf.refine import refine
from segtool.data import open_dataset
from segtool.errors import SegtoolError
from segtool.input_contract import InputContract
from segtool.runtime.maps import blending, segment_map
from segtool.runtime.maps import segment as segment_module
from segtool.runtime.maps.reading import opened
from segtool.runtime.maps.segment import crf_windows, void_where
from segtool.runtime.maps.writing import note_of_map, write_labels
from segtool.runtime.tiles import Tiles
from segtool.windows import spans, weights

CLASSES = [ClassInfo(id=i, name=f"c{i}", color=(60 * i, 9, 200 - 40 * i)) for i in range(4)]


def crf_card(alpha=14.0):
    tables = [[float(i == j) for j in range(4)] for i in range(4)]
    return CrfCard(
        spatial_gamma=2,
        bilateral_alpha=alpha,
        bilateral_beta=12,
        iterations=5,
        unary_scale=[1.0, 0.9, 1.1, 1.0],
        spatial_compatibility=tables,
        bilateral_compatibility=[[3 * v for v in row] for row in tables],
        temperature=1.3,
    )


def card(crf=None):
    data = TrainedOn(dataset="none", split="train", image_count=0, fingerprint="")
    about = {"architecture": "x", "encoder": "y", "seed": 0, "config": {}, "packages": {}, "trained_on": data}
    return ModelCard(classes=CLASSES, input=InputContract(stride=8), crf=crf, **about)


class Array:
    """An image in memory as a map."""

    def __init__(self, image):
        self.image, (self.height, self.width) = image, image.shape[:2]

    def read(self, rows, columns):
        return self.image[rows, columns]


@pytest.fixture(scope="module")
def image():
    """A landscape [400,520,3] of built-in pictures."""
    dataset = open_dataset("synthetic:140", "val")
    rows = [np.concatenate([dataset.load(4 * i + j).image for j in range(4)], 1) for i in range(3)]
    return np.concatenate(rows)[:400, :520]


@pytest.fixture(scope="module")
def network(image):
    """A network of stride 8 whose answer at a pixel depends on those at most 44 pixels away, with random weights."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 8, 8), nn.ReLU()]
    layers += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(16, 4, 3, padding=1), nn.Upsample(scale_factor=8, mode="bilinear")]
    module = nn.Sequential(*layers).eval()

    @torch.inference_mode()
    def logits(pixels):
        height, width = pixels.shape[:2]
        padded = np.pad(pixels, [(0, -height % 8), (0, -width % 8), (0, 0)], "edge")
        tensor = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 64 - 2
        return module(tensor)[0, :, :height, :width].numpy()

    answer = logits(image)
    mean, scale = answer.mean((1, 2), keepdims=True), 2 / answer.std((1, 2), keepdims=True)
    return lambda pixels: (logits(pixels) - mean) * scale


def whole(parts, shape):
    labels, times = np.zeros(shape, np.uint8), np.zeros(shape, int)
    for part in parts:
        labels[part.rows, part.columns] = part.labels
        times[part.rows, part.columns] += 1
    assert (times == 1).all()
    return labels


@pytest.mark.parametrize("tiles", [Tiles(256, 256, 176), Tiles(320, 320, 176), Tiles(296, 376, 192)])
def test_tiles_leave_no_seams(image, network, tiles, monkeypatch, tmp_path):
    """The CRF's windows are small, too: several in each direction; no tile stays in memory, and each is run once."""
    monkeypatch.setattr(segment_module, "_BUDGET", 1)
    monkeypatch.setattr(blending, "_KEPT", 0)
    for crf in (None, crf_card()):
        calls = []
        counted = lambda pixels, calls=calls: calls.append(1) or network(pixels)  # noqa: E731
        once = network(image)
        expected = (once if crf is None else refine(once, image, crf)).argmax(0)
        assert len(np.unique(expected)) > 2
        found = whole(segment_map(counted, card(crf), Array(image), tiles, tmp_path), image.shape[:2])
        assert len(calls) == len(spans(400, tiles.height, tiles.overlap, 8)) * len(
            spans(520, tiles.width, tiles.overlap, 8)
        )
        assert (found == expected).mean() >= (0.9999 if crf is None else 0.999)


def test_windows_see_the_lattice_as_one(image, network, monkeypatch, tmp_path):
    """Of one field: only the CRF is cut."""
    expected = refine(network(image), image, crf_card()).argmax(0)
    monkeypatch.setattr(segment_module, "_BUDGET", 1)
    found = whole(segment_map(network, card(crf_card()), Array(image), Tiles(1000, 1000, 0), tmp_path), image.shape[:2])
    assert (found == expected).mean() >= 0.999
    assert len(crf_windows(image.shape[0], 256 + 84, 42, 23.3)) > 1


def test_refine_is_the_layer(image, network):
    layer = DenseCRF.from_card(crf_card()).eval()
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        expected = layer(torch.from_numpy(network(image))[None], pixels).softmax(1)[0].numpy()
    np.testing.assert_allclose(refine(network(image), image, crf_card()), expected, atol=2e-5)


@pytest.mark.parametrize(("side", "window", "overlap", "stride"), [(100, 40, 10, 1), (97, 40, 24, 8), (40, 64, 8, 8)])
def test_windows_cover_a_side_and_count_as_one(side, window, overlap, stride):
    found = spans(side, window, overlap, stride)
    total = np.zeros(side)
    for span, weight in zip(found, weights(found), strict=True):
        assert span.start % stride == 0
        assert span.stop - span.start <= window
        total[span.start : span.stop] += weight
    assert (found[0].first, found[-1].last) == (0, side)
    assert all(a.last == b.first for a, b in itertools.pairwise(found))
    np.testing.assert_allclose(total[: side - window], 1, atol=1e-6)
    assert (total > 0).all()


def geotiff(path, image, **options):
    profile = {"driver": "GTiff", "dtype": image.dtype, "count": image.shape[2], "tiled": True}
    profile |= {"height": image.shape[0], "width": image.shape[1], "crs": "EPSG:32633"}
    profile |= {"transform": from_origin(400_000, 5_800_000, 0.5, 0.5), "blockxsize": 128, "blockysize": 128}
    with rasterio.open(path, "w", **{**profile, **options}) as file:
        file.write(image.transpose(2, 0, 1))
    return path


def test_a_map_keeps_its_place(tmp_path, image, network):
    image = image.copy()
    image[:50, :70] = 0
    path = geotiff(tmp_path / "map.tif", image, nodata=0)
    (tmp_path / "tiles").mkdir()
    with opened(path) as source:
        np.testing.assert_array_equal(source.read(slice(100, 200), slice(30, 90)), image[100:200, 30:90])
        parts = segment_map(network, card(), source, Tiles(256, 256, 176), tmp_path / "tiles")
        voided = (void_where(part, source.missing(part.rows, part.columns), 0.3) for part in parts)
        write_labels(tmp_path / "out.tif", source, voided, [c.color for c in CLASSES], "a note")
    with rasterio.open(tmp_path / "out.tif") as file, rasterio.open(path) as given:
        assert (file.crs, file.transform, file.shape) == (given.crs, given.transform, given.shape)
        assert (file.nodata, file.profile["tiled"], file.tags()["SEGTOOL"]) == (255, True, "a note")
        assert file.colormap(1)[2][:3] == CLASSES[2].color
        assert file.overviews(1)
        labels = file.read(1)
    found = network(image)
    sure = np.exp(found - found.max(0)).sum(0) ** -1 >= 0.3
    expected = np.where(sure & (image != 0).any(2), found.argmax(0), 255)
    assert (labels == expected).mean() > 0.999
    assert (labels[:50, :70] == 255).all()
    assert note_of_map(tmp_path / "out.tif") == "a note"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "out.tif", "tiles"]


def test_bands_of_a_map(tmp_path, image):
    four = np.concatenate([image, image[..., :1] // 2], 2)
    path = geotiff(tmp_path / "four.tif", four)
    everything = slice(0, 400), slice(0, 520)
    with opened(path, [4, 1, 2]) as source:
        np.testing.assert_array_equal(source.read(*everything), four[..., [3, 0, 1]])
    with opened(geotiff(tmp_path / "one.tif", image[..., :1])) as source:
        np.testing.assert_array_equal(source.read(*everything), np.repeat(image[..., :1], 3, 2))
    for bands in ([1, 2], [1, 2, 5], [0, 1, 2]):
        with (
            pytest.raises(SegtoolError, match=r"the file has the bands 1\.\.4; the model takes 3 of them"),
            opened(path, bands),
        ):
            pass


def test_windows_of_any_width_cover_an_image():
    for side, halo, period in ((1024, 384, 1152.0), (340, 42, 23.3), (340, 42, 40.3), (600, 100, 400.0)):
        found = crf_windows(3000, side, halo, period)
        assert (found[0].first, found[-1].last) == (0, 3000)
        for one, two in itertools.pairwise(found):
            assert one.last == two.first
            assert one.last <= one.stop - halo
            assert two.first >= two.start + halo


def test_tiles_smaller_than_the_stride(image, network, tmp_path):
    with pytest.raises(SegtoolError, match="tiles of 4x64: --tile .8 at least, the network's stride"):
        next(segment_map(network, card(), Array(image), Tiles(4, 64, 0), tmp_path))
