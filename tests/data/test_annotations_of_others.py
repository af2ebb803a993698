"""What files of YOLO, labelme, CVAT and Label Studio may say, and what they may get wrong."""

import json

import numpy as np
import pytest

from .annotated import SQUARE, H, W, labels, photo, said, square


def yolo(root, text, data="names: [car, tree]\ntrain: images\n"):
    photo(root / "images" / "0.png")
    (root / "labels").mkdir(exist_ok=True)
    (root / "labels" / "0.txt").write_text(text)
    (root / "data.yaml").write_text(data)
    return f"yolo:{root}"


def test_yolo(tmp_path):
    shares = " ".join(str(v / (W if i % 2 == 0 else H)) for i, v in enumerate(SQUARE))
    np.testing.assert_array_equal(labels(yolo(tmp_path, f"1 {shares}\n\n"), "train"), 2 * square())
    data = "path: /elsewhere\nnames: {0: car, 1: tree}\ntrain: ../images\nval: list.txt\n"
    (tmp_path / "list.txt").write_text("images/0.png\n")
    spec = yolo(tmp_path, f"0 {shares}", data)
    for split in ("train", "val"):
        np.testing.assert_array_equal(labels(spec, split), square())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1 0.5 0.5 0.2 0.2", "a box where a polygon should be"),
        ("2 0.1 0.1 0.2 0.1 0.2 0.2", "class 2 is not among the names: "),
        ("x 0.1 0.1 0.2 0.1 0.2 0.2", "class x is not among the names: "),
        ("0 10 10 20 10 20 20", "coordinates in pixels"),
        ("0 0.1 0.1 0.2 0.1 nan 0.2", "no pairs of finite numbers"),
        ("0 a b c d e f", "coordinates are no numbers"),
    ],
)
def test_bad_lines_of_yolo(tmp_path, text, line):
    assert line in said(yolo(tmp_path, text), "train")[0]


def test_bad_files_of_yolo(tmp_path):
    spec = yolo(tmp_path, "")
    assert "no split val: " in said(spec, "val")[0]
    (tmp_path / "labels" / "0.txt").unlink()
    assert "no image has a text file of labels" in said(spec, "train")[0]
    assert "no names of classes" in said(yolo(tmp_path, "", "train: images"), "train")[0]
    assert "split train is not there" in said(yolo(tmp_path, "", "names: [a]\ntrain: imgs"), "train")[0]
    (tmp_path / "data.yaml").unlink()
    assert "no data.yaml" in said(spec, "train")[0]


def labelme(root, shapes, **changes):
    photo(root / "0.png")
    data = {"imagePath": "0.png", "imageHeight": H, "imageWidth": W, "shapes": shapes, **changes}
    (root / "0.json").write_text(json.dumps(data))
    return f"labelme:{root}"


@pytest.mark.parametrize(
    ("shape", "line"),
    [
        ({"label": "car", "points": [[1, 1], [2, 2]], "shape_type": "line"}, "a line covers no area, and is left out"),
        ({"label": "car", "points": [[1, 1]], "shape_type": "spiral"}, "a shape of the type spiral"),
        ({"label": "car", "points": [[1, 1]], "shape_type": "mask", "mask": "!"}, "a mask that is no picture"),
        ({"label": "car", "points": [[1, 1]], "shape_type": "mask", "mask": "aGVsbG8="}, "a mask that cannot be read"),
        ({"label": None, "points": []}, "a shape without a label or points"),
        ({"label": "car", "points": [[1, "x"]]}, "a shape without a label or points"),
        (7, "a shape without a label or points"),
    ],
)
def test_bad_shapes_of_labelme(tmp_path, shape, line):
    good = {"label": "car", "points": np.reshape(SQUARE, (4, 2)).tolist(), "shape_type": "polygon"}
    assert line in said(labelme(tmp_path, [good, shape]))[0]
    np.testing.assert_array_equal(labels(labelme(tmp_path, [good])), square())


def test_bad_files_of_labelme(tmp_path):
    assert "the image of a JSON file is missing" in said(labelme(tmp_path, [], imagePath="gone.png"))[0]
    (tmp_path / "0.json").write_text("{")
    assert "not valid JSON" in said(f"labelme:{tmp_path}")[0]
    (tmp_path / "0.json").unlink()
    assert "no JSON files of labelme" in said(f"labelme:{tmp_path}")[0]


def cvat(root, inside, head=""):
    photo(root / "images" / "0.png")
    image = f'<image id="0" name="0.png" width="{W}" height="{H}">{inside}</image>'
    (root / "annotations.xml").write_text(f"{head}<annotations>{image}</annotations>")
    return f"cvat:{root}"


def test_shapes_of_cvat(tmp_path):
    inside = (
        '<box label="car" xtl="5" ytl="4" xbr="15" ybr="14" z_order="2"/>'
        '<mask label="tree" rle="0, 5, 20, 5, 10" left="10" top="10" width="10" height="4" z_order="1"/>'
        '<ellipse label="car" cx="24" cy="6" rx="4" ry="3" z_order="0"/>'
    )
    found = labels(cvat(tmp_path, inside))
    y, x = np.mgrid[:H, :W] + 0.5
    expected = (((x - 24) / 4) ** 2 + ((y - 6) / 3) ** 2 < 1).astype(int)
    mask = np.zeros(40, int)
    mask[:5], mask[25:30] = 1, 1
    expected[10:14, 10:20][mask.reshape(4, 10) > 0] = 2
    expected[square()] = 1
    assert (found != expected).sum() <= 8  # on the ellipse, which is a polygon
    np.testing.assert_array_equal(found[:, :20], expected[:, :20])


@pytest.mark.parametrize(
    ("inside", "line"),
    [
        ('<polyline label="car" points="1,1;2,2"/>', "a polyline covers no area, and is left out"),
        ('<mask label="car" rle="5" left="0" top="0" width="3" height="3"/>', "run lengths that do not fill"),
        ('<mask label="car" rle="9" left="29" top="0" width="3" height="3"/>', "a mask reaches beyond its image"),
        ('<mask label="car" rle="x" left="0" top="0" width="3" height="3"/>', "run lengths that do not fill"),
        ('<polygon label="car" points="1,1;2"/>', "no pairs of finite numbers"),
        ('<box label="car" xtl="5"/>', "a box that cannot be read"),
    ],
)
def test_bad_shapes_of_cvat(tmp_path, inside, line):
    assert line in said(cvat(tmp_path, '<box label="car" xtl="5" ytl="4" xbr="15" ybr="14"/>' + inside))[0]


def test_bad_files_of_cvat(tmp_path):
    assert "a DOCTYPE" in said(cvat(tmp_path, "", "<!DOCTYPE a [<!ENTITY b 'c'>]>"))[0]
    assert "not valid XML" in said(cvat(tmp_path, "<"))[0]
    (tmp_path / "annotations.xml").write_text("<a/>")
    assert "no images" in said(f"cvat:{tmp_path}")[0]


def studio(root, results, image="/data/upload/3/0a1b2c3d-0.png"):
    photo(root / "images" / "0.png")
    size = {"original_width": W, "original_height": H}
    task = {"id": 1, "data": {"image": image}, "annotations": [{"result": [{**size, **r} for r in results]}]}
    (root / "export.json").write_text(json.dumps([task]))
    return f"labelstudio:{root}"


@pytest.mark.parametrize("image", ["/data/upload/3/0a1b2c3d-0.png", "s3://some/0.png", "/data/local-files/?d=a/0.png"])
def test_a_turned_rectangle_of_label_studio(tmp_path, image):
    """It is turned around its top left corner: by a right angle, width and height change places."""
    value = {"x": 50, "y": 20, "width": 100 * 10 / W, "height": 100 * 6 / H, "rotation": 90, "rectanglelabels": ["car"]}
    found = labels(studio(tmp_path, [{"type": "rectanglelabels", "value": value}], image))
    np.testing.assert_array_equal(found, square(15 - 6, 4, 15, 14))


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (
            {"type": "brushlabels", "value": {"format": "rle", "rle": [0], "brushlabels": ["car"]}},
            "that fits no",
        ),
        (
            {"type": "brushlabels", "value": {"format": "rle", "rle": "x", "brushlabels": ["car"]}},
            "that cannot be",
        ),
        ({"type": "keypointlabels", "value": {"x": 1, "keypointlabels": ["car"]}}, "covers no labelled area"),
        ({"type": "polygonlabels", "value": {"polygonlabels": ["car"]}}, "less than three points is left out"),
    ],
)
def test_bad_results_of_label_studio(tmp_path, result, line):
    value = {"x": 50, "y": 20, "width": 10, "height": 10, "rectanglelabels": ["car"]}
    assert line in said(studio(tmp_path, [{"type": "rectanglelabels", "value": value}, result]))[0]


def test_bad_files_of_label_studio(tmp_path):
    spec = studio(tmp_path, [])
    assert "a listed image is missing" in said(studio(tmp_path, [], "/data/gone.png"))[0]
    (tmp_path / "export.json").write_text('[{"image": "0.png"}]')
    assert "export as JSON, not as JSON-MIN" in said(spec)[0]
