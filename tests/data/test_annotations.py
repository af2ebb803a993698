"""What COCO's files may say, and what they may get wrong: all of it is listed, with counts."""

import json

import numpy as np
import pytest
from pycocotools import mask as api

from segtool.data import open_dataset
from segtool.data.checks.findings import Finding, grouped

from .annotated import SQUARE, H, W, labels, photo, said, square


def coco(root, segmentations, **changes):
    """A COCO file of one image; categories 3: car and 7: tree, annotations of (category, segmentation, crowd)."""
    photo(root / "0.png")
    annotations = [
        {"id": i, "image_id": 1, "category_id": category, "segmentation": segmentation, "iscrowd": int(bool(crowd))}
        for i, (category, segmentation, *crowd) in enumerate(segmentations)
    ]
    data = {
        "images": [{"id": 1, "file_name": "0.png", "height": H, "width": W}],
        "categories": [{"id": 3, "name": "car"}, {"id": 7, "name": "tree"}],
        "annotations": annotations,
        **changes,
    }
    (root / "some.json").write_text(json.dumps(data))
    return f"coco:{root / 'some.json'}"


def test_small_shapes_lie_over_large_ones_and_crowds_are_void(tmp_path):
    runs = api.encode(np.asfortranarray(square(0, 0, W, 8), np.uint8))
    crowd = {"size": runs["size"], "counts": runs["counts"].decode()}
    found = labels(coco(tmp_path, [(3, [[8, 6, 12, 6, 12, 10, 8, 10]]), (7, [SQUARE]), (3, crowd, True)]))
    expected = np.where(square(0, 0, W, 8), 255, 0)
    expected[square()] = 2
    expected[square(8, 6, 12, 10)] = 1
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["text", "list"])
def test_run_lengths(tmp_path, kind):
    truth = np.random.default_rng(1).random((H, W)) > 0.5
    runs = api.encode(np.asfortranarray(truth, np.uint8))
    counts = runs["counts"].decode()
    if kind == "list":
        flat = truth.T.ravel()
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(int)]))).tolist()
        counts = np.diff([0, *edges, flat.size]).tolist()
    found = labels(coco(tmp_path, [(3, {"size": [H, W], "counts": counts})]))
    np.testing.assert_array_equal(found == 1, truth)


def test_a_polygon_of_two_parts(tmp_path):
    found = labels(coco(tmp_path, [(7, [SQUARE, [20, 4, 25, 4, 25, 14, 20, 14]])]))
    np.testing.assert_array_equal(found == 2, square() | square(20, 4, 25, 14))


BAD = [
    ((3, []), "an annotation without a segmentation"),
    ((3, None), "an annotation without a segmentation"),
    ((9, [SQUARE]), "a category that is not among the categories"),
    ((3, [[1, 2, 3, 4, "x", 6]]), "coordinates are no numbers"),
    ((3, [[1, 2, 3, 4, 5]]), "no pairs of finite numbers"),
    ((3, [[1, 2, 3, 4, float("nan"), 6]]), "no pairs of finite numbers"),
    ((3, [[1, 2, 1e9, 4, 5, 6]]), "a polygon reaches far beyond its image"),
    ((3, [[1, 2, 3, 4]]), "less than three points is left out"),
    ((3, [[101, 2, 103, 4, 105, 9]]), "a polygon outside its image is left out"),
    ((3, [[1, 2, 34, 4, 5, 9]]), "a polygon reaches beyond its image, and is cut"),
    ((3, {"size": [4, 4], "counts": "04"}), "a mask of run lengths that fits no image"),
    ((3, {"size": [H, W], "counts": "\u00ff"}), "a mask of run lengths that fits no image"),
    ((3, {"size": [H, W], "counts": [5, 3]}), "run lengths that do not fill 20x30 pixels"),
    ((3, {"size": [H, W], "counts": [-5, 605]}), "run lengths that do not fill"),
    ((3, {"size": [H, W], "counts": "o" * 99}), "fits no image"),
    ((3, {"size": [H, W], "counts": [2**62] * 4 + [600]}), "run lengths that do not fill"),
]


@pytest.mark.parametrize(("annotation", "line"), BAD)
def test_bad_annotations_of_coco(tmp_path, annotation, line):
    (found,) = said(coco(tmp_path, [(3, [SQUARE]), annotation, annotation]))
    assert line in found
    if "times" in found:
        assert found.startswith("2 times: ")


def test_bad_images_of_coco(tmp_path):
    image = {"id": 1, "file_name": "0.png", "height": H, "width": W}
    spec = coco(tmp_path, [(3, [SQUARE])], images=[image, {**image, "id": 2, "file_name": "gone.png"}, image])
    missing, twice = said(spec)
    assert missing.startswith("a listed image is missing: gone.png (looked in ")
    assert twice.startswith("two images have one id: some.json, image 1")
    (size,) = said(coco(tmp_path, [(3, [SQUARE])], images=[{**image, "height": 2 * H}]))
    assert size.startswith("annotations for 40x30 pixels of an image of 20x30: some.json, 0.png (was the image scaled")


def test_no_file_outside_the_folder_is_read(tmp_path):
    photo(tmp_path / "secret.png")
    (tmp_path / "data" / "deep").mkdir(parents=True)
    for name in ("../../secret.png", str(tmp_path / "secret.png")):
        spec = coco(tmp_path / "data" / "deep", [], images=[{"id": 1, "file_name": name}])
        assert "a listed image is missing" in said(spec)[0]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "not valid JSON: "),
        ("[]", "no list of categories: "),
        ('{"images": [], "annotations": {}, "categories": []}', "no list of annotations: "),
        ("[" * 100_000, "not valid JSON: "),
        ("\udcff", "not UTF-8: "),
    ],
)
def test_files_that_are_no_coco(tmp_path, content, line):
    (tmp_path / "some.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert said(f"coco:{tmp_path / 'some.json'}")[0].startswith(line)


def test_a_classes_file_beside_annotations(tmp_path):
    """It names the classes, merges labels, voids others, and draws the splits."""
    spec = coco(tmp_path, [(3, [SQUARE]), (7, [[20, 4, 25, 4, 25, 14, 20, 14]])])
    (tmp_path / "classes.yaml").write_text("classes: [vehicle, ground]\nids: {car: vehicle}\nelsewhere: ground\n")
    (found,) = said(spec)
    assert found.startswith("1 shapes of a label without a class: tree (add it to classes, or under ids:")
    (tmp_path / "classes.yaml").write_text(
        "classes: [vehicle, ground]\nids: {car: vehicle, other: void}\nelsewhere: ground\n"
    )
    expected = np.where(square(), 0, 1)
    expected[square(20, 4, 25, 14)] = 255
    np.testing.assert_array_equal(labels(spec), expected)
    (tmp_path / "classes.yaml").write_text("classes: [car, tree]\nvalues: colors\n")
    assert "coco knows where they lie" in said(spec)[0]


def test_splits_of_one_file(tmp_path):
    images = [{"id": i, "file_name": f"film{i // 2}_{i}.png", "height": H, "width": W} for i in range(12)]
    for image in images:
        photo(tmp_path / image["file_name"])
    spec = coco(tmp_path, [(3, [SQUARE])], images=images)
    assert "nothing says what train is" in said(spec, "train")[0]
    (tmp_path / "classes.yaml").write_text("classes: [background, car, tree]\nsplit: {val: 0.3}\n")
    found = {split: open_dataset(spec, split) for split in ("train", "val")}
    films = {split: {d.identifier(i).split("_")[0] for i in range(len(d))} for split, d in found.items()}
    assert not films["train"] & films["val"]
    assert sum(map(len, found.values())) == 12


def test_the_split_in_a_file_s_name(tmp_path):
    coco(tmp_path, [(3, [SQUARE])])
    (tmp_path / "some.json").rename(tmp_path / "some_val.json")
    assert (labels(f"coco:{tmp_path}/some_{{split}}.json", "val") == 1).sum() == 100
    assert said(f"coco:{tmp_path}/some_{{split}}.json", "train")[0].startswith("no such file: ")


def test_findings_that_differ_in_colours_are_of_one_kind():
    words = (
        "colours that are none, #ff0000 (3 pixels)",
        "colours that are none, #00a0ff (1 pixels), #000000 (2 pixels)",
    )
    assert [group.total for group in grouped(Finding(what, "x") for what in words)] == [2]
