"""Masks become polygons, and these the same masks again, read by the formats' own readers."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as api
from pycocotools.coco import COCO
from scipy.ndimage import gaussian_filter, label

from segtool.card import ClassInfo
from segtool.data import open_dataset
from segtool.data.polygons import Drawing, pieces, write_polygons
from segtool.data.polygons.keyhole import keyholed

CLASSES = [ClassInfo(id=i, name=n, color=(9 * i, 1, 2)) for i, n in enumerate(("background", "car", "tree", "sky"))]
SIZE = (90, 120)
WANTED = (1, 2, 3)


def blobs(seed=0):
    """Labels [90,120] with holes, holes in holes, and pixels that touch at corners."""
    random = np.random.default_rng(seed)
    fields = [gaussian_filter(random.normal(size=SIZE), 4) for _ in CLASSES]
    labels = np.stack(fields).argmax(0).astype(np.uint8)
    labels[10:40, 10:40] = 1
    labels[13:37, 13:37] = 0
    labels[16:30, 16:30] = 2
    labels[20:24, 20:24] = 1
    labels[20:24, 26:28] = 0
    labels[60:62, 60:62], labels[62:64, 62:64], labels[60:62, 62:64], labels[62:64, 60:62] = 1, 1, 2, 3
    return labels


def filled(outline):
    parts = api.frPyObjects([outline.ravel().tolist()], *SIZE)
    return api.decode(api.merge(parts)).astype(bool)


@pytest.mark.parametrize("seed", range(4))
def test_each_piece_is_one_connected_region(seed):
    labels = blobs(seed)
    found = pieces(labels, range(4), simplify=0)
    assert len(found) == sum(label(labels == c)[1] for c in range(4))
    again = np.full(SIZE, 99, np.uint8)
    for piece in found:
        region = filled(keyholed(piece))
        assert region.sum() == piece.pixels
        assert (labels[region] == piece.label).all()
        again[region] = piece.label
    np.testing.assert_array_equal(again, labels)


def test_a_slit_leads_to_each_hole():
    ring = np.zeros(SIZE, np.uint8)
    ring[10:80, 10:100] = 1
    ring[20:30, 20:30] = ring[40:60, 50:55] = ring[70:75, 80:90] = 0
    (piece,) = pieces(ring, [1], simplify=0)
    assert len(piece.holes) == 3
    picture = Image.new("L", SIZE[::-1])
    ImageDraw.Draw(picture).polygon([tuple(point) for point in keyholed(piece) * 1.0], fill=1)
    differs = np.asarray(picture) != ring
    assert differs.mean() < 0.05  # Pillow draws the outline, too
    np.testing.assert_array_equal(filled(keyholed(piece)), ring)


def test_neighbours_are_simplified_alike():
    labels = blobs()
    exact, simple = (pieces(labels, range(4), simplify) for simplify in (0, 1.5))
    assert sum(len(p.outer) for p in simple) < 0.5 * sum(len(p.outer) for p in exact)
    times = np.zeros(SIZE, int)
    for piece in simple:
        times += filled(keyholed(piece))
    assert (times == 1).all()


def test_specks_are_left_out():
    labels = np.zeros(SIZE, np.uint8)
    labels[3:6, 3:6], labels[30:34, 30:34] = 1, 1
    assert [piece.pixels for piece in pieces(labels, WANTED, smallest=10)] == [16]
    assert pieces(np.full(SIZE, 255, np.uint8), WANTED) == []


def write(form, root, simplify=0.0):
    drawings = []
    for i in range(2):
        image = root / "images" / "a" / f"{i}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (*SIZE, 3), np.uint8)).save(image)
        found = pieces(blobs(i), WANTED, simplify)
        drawings.append(Drawing(image, f"a/{i}.png", root / "a" / f"{i}", SIZE, found))
    write_polygons(form, root, iter(drawings), CLASSES)
    return f"{form}:{root}"


@pytest.mark.parametrize("form", ["coco", "cvat", "yolo", "labelme"])
def test_what_is_written_is_read(tmp_path, form):
    spec = write(form, tmp_path)
    split = "train" if form == "yolo" else "all"
    dataset = open_dataset(spec, split)
    order = [c.name for c in dataset.classes]
    for i in range(2):
        names = [c.name for c in CLASSES]
        labels = np.array([names.index(name) for name in order])[dataset.load(i).labels]
        np.testing.assert_array_equal(labels, blobs(i))


def test_pycocotools_reads_what_is_written(tmp_path):
    write("coco", tmp_path)
    theirs = COCO(str(tmp_path / "annotations.json"))
    found = np.zeros(SIZE, np.uint8)
    for annotation in theirs.loadAnns(theirs.getAnnIds(imgIds=[1])):
        region = theirs.annToMask(annotation) > 0
        assert region.sum() == annotation["area"]
        found[region] = annotation["category_id"] - 1
    np.testing.assert_array_equal(found, blobs(0))


def test_geojson_has_holes(tmp_path):
    from rasterio.features import rasterize

    write("geojson", tmp_path)
    data = json.loads((tmp_path / "a" / "0.geojson").read_text())
    shapes = [(feature["geometry"], feature["properties"]["id"]) for feature in data["features"]]
    assert any(len(geometry["coordinates"]) > 1 for geometry, _ in shapes)
    np.testing.assert_array_equal(rasterize(shapes, SIZE), blobs(0))
