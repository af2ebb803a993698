"""`data init` says what it takes for what, and asks where there are several ways to read a folder."""

import json

import numpy as np
import pytest
from PIL import Image

from segtool.data import open_dataset

from . import wild
from .test_guess import segtool, spec_of
from .wild import labels_of, photo, save


def init(root, *options):
    done = segtool("data", "init", str(root), *options)
    assert done.exit_code == 0, done.output
    return done.output


def classes(root, split="all"):
    return [c.name for c in open_dataset(f"folder:{root}", split).classes]


def test_smoothed_edges_are_no_classes(tmp_path):
    for i in range(4):
        photo(tmp_path / "images" / f"{i}.png", i)
        large = Image.fromarray(np.kron(labels_of(i, 2), np.ones((8, 8), np.uint8)) * 255)
        (tmp_path / "masks").mkdir(exist_ok=True)
        large.rotate(3, Image.Resampling.BICUBIC).save(tmp_path / "masks" / f"{i}.png")
    assert "masks are binary" in init(tmp_path)
    assert classes(tmp_path) == ["background", "thing"]


def test_void_is_told(tmp_path):
    for i in range(4):
        photo(tmp_path / "images" / f"{i}.png", i)
        save(tmp_path / "masks" / f"{i}.png", np.array([0, 128, 255], np.uint8)[labels_of(i)])
    assert "255 is taken for void" in init(tmp_path)


def test_names_by_the_palette(tmp_path):
    wild.two_folders(tmp_path)
    colors = {"sky": (128, 128, 128), "road": (128, 64, 128), "car": (64, 0, 128)}
    order = ["car", "sky", "road"]
    for i in range(wild.IMAGES):
        image = Image.fromarray(labels_of(i))
        image.putpalette([value for name in order for value in colors[name]])
        image.save(tmp_path / "masks" / f"{i:03d}.png")
    rows = "".join(f"{name},{r},{g},{b}\n" for name, (r, g, b) in colors.items())
    (tmp_path / "class_dict.csv").write_text(f"name,r,g,b\n{rows}")
    init(tmp_path)
    found = open_dataset(f"folder:{tmp_path}", "all").classes
    assert [(c.name, c.color) for c in found] == [(name, colors[name]) for name in order]


@pytest.mark.parametrize(
    ("name", "text"),
    [("_classes.csv", "Pixel Value, Class\n0, a\n1, b\n2, c\n"), ("classes.csv", "id;name\n0;a\n1;b\n2;c")],
)
def test_tables_of_names(tmp_path, name, text):
    wild.two_folders(tmp_path)
    (tmp_path / name).write_text(text)
    init(tmp_path)
    assert classes(tmp_path) == ["a", "b", "c"]


def test_a_list_that_does_not_fit_is_told(tmp_path):
    wild.two_folders(tmp_path)
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    assert "classes.txt is not used: it has 2 names, and masks have 3 values" in init(tmp_path)


def test_two_tools_in_one_folder(tmp_path):
    wild.coco_of_roboflow(tmp_path)
    data = {"imagePath": "0.jpg", "imageHeight": 10, "imageWidth": 14, "shapes": []}
    (tmp_path / "train" / "0.json").write_text(json.dumps(data))
    done = segtool("data", "init", str(tmp_path))
    assert done.exit_code == 2
    assert f"2 ways to read it: COCO's JSON, as Roboflow writes it (coco:{tmp_path}), labelme's JSON" in done.output


@pytest.mark.parametrize("test", ["with masks", "without masks", "none"])
def test_training_images_alone(tmp_path, test):
    for split in ("train", "test"):
        for i in range(5):
            if split == "train" or test != "none":
                photo(tmp_path / split / f"{i}.png", i)
            if split == "train" or test == "with masks":
                save(tmp_path / f"{split}_masks" / f"{i}_mask.gif", labels_of(i, 2) * 255)
    said = init(tmp_path)
    assert "there is no val split: it is drawn from train" in said
    assert ("test is left out" in said) == (test == "with masks")
    assert ("test: left out, it has no masks" in said) == (test == "without masks")
    assert segtool("data", "check", spec_of(said)).exit_code == 0
    assert [len(open_dataset(f"folder:{tmp_path}", split)) for split in ("train", "val")] == [4, 1]


def test_folders_that_may_be_splits_are_named(tmp_path):
    for fold in ("Trainingsdaten", "Validierung"):
        for i in range(3):
            photo(tmp_path / fold / "images" / f"{i}.png", i)
            save(tmp_path / fold / "masks" / f"{i}.png", labels_of(i))
    said = init(tmp_path)
    assert "Trainingsdaten, Validierung: taken for groups of images; if they are splits, say so" in said
    train, val = (open_dataset(f"folder:{tmp_path}", split) for split in ("train", "val"))
    groups = [{dataset.identifier(i).split("/")[0] for i in range(len(dataset))} for dataset in (train, val)]
    assert not groups[0] & groups[1]


def test_patterns_are_taken_as_they_are_said(tmp_path):
    for split in ("train", "val"):
        for i in range(3):
            photo(tmp_path / f"x_{split}" / f"{i}.png", i)
            save(tmp_path / f"y_{split}" / f"{i}.png", labels_of(i))
    init(tmp_path, "--images", "x_{split}/{stem}", "--masks", "y_{split}/{stem}")
    dataset = open_dataset(f"folder:{tmp_path}", "val")
    np.testing.assert_array_equal(dataset.load(0).labels, labels_of(0))
    done = segtool("data", "init", str(tmp_path / "x_train"), "--images", "a/{stem}", "--masks", "b/{stem}")
    assert "no file is as a/{stem} says" in done.output


def test_a_mask_for_each_class_behind_the_name(tmp_path):
    for i in range(4):
        photo(tmp_path / f"{i}.jpg", i)
        for name, label in (("car", 1), ("road", 2)):
            save(tmp_path / f"{i}_{name}.png", (labels_of(i) == label).astype(np.uint8) * 255)
    init(tmp_path)
    assert classes(tmp_path) == ["background", "car", "road"]
    np.testing.assert_array_equal(open_dataset(f"folder:{tmp_path}", "all").load(0).labels, labels_of(0))


def test_several_objects_behind_the_name(tmp_path):
    """As in BUSI: x.png, x_mask.png, x_mask_1.png."""
    for i in range(5):
        photo(tmp_path / f"scan ({i}).png", i)
        whole = labels_of(i, 2) * 255
        upper, lower = whole.copy(), whole.copy()
        upper[4:], lower[:4] = 0, 0
        save(tmp_path / f"scan ({i})_mask.png", whole if i else upper)
        if not i:
            save(tmp_path / f"scan ({i})_mask_1.png", lower)
    assert "5 images; masks are binary" in init(tmp_path)
    np.testing.assert_array_equal(open_dataset(f"folder:{tmp_path}", "all").load(0).labels, labels_of(0, 2))


def test_what_knows_no_splits_is_to_be_dealt(tmp_path):
    photo(tmp_path / "0.png", 0)
    data = {"imagePath": "0.png", "imageHeight": 10, "imageWidth": 14, "shapes": []}
    (tmp_path / "0.json").write_text(json.dumps(data))
    assert init(tmp_path).endswith(f"now: segtool data split labelme:{tmp_path}\n")


def test_colours_that_look_alike_are_not_taken(tmp_path):
    wild.two_folders(tmp_path)
    for i in range(wild.IMAGES):
        Image.fromarray(labels_of(i)).save(tmp_path / "masks" / f"{i:03d}.gif")
        (tmp_path / "masks" / f"{i:03d}.png").unlink()
    init(tmp_path)
    colors = [c.color for c in open_dataset(f"folder:{tmp_path}", "all").classes]
    assert min(sum(abs(x - y) for x, y in zip(a, b, strict=True)) for a in colors for b in colors if a != b) > 100
