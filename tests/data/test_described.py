"""What a classes.yaml says of a folder: where files lie, what masks hold, which images are which split."""

import numpy as np
import pytest
from PIL import Image

from segtool.data import open_dataset
from segtool.data.checks.inspection import Inspection

from .descriptions import COLORS, TRUTH, describe, labels, names, photo, refused, save


def colored(truth=TRUTH):
    return np.array([[COLORS[int(v)] for v in row] for row in truth], np.uint8)


COLORED = "classes: [" + ", ".join(f"{{name: {n}, color: {list(COLORS[i])}}}" for i, n in enumerate("abc")) + "]\n"


def test_suffixes_in_one_folder(tmp_path):
    photo(tmp_path / "img_001.jpg")
    save(tmp_path / "img_001_mask.png", TRUTH)
    spec = describe(tmp_path, 'images: "{stem}"\nmasks: "{stem}_mask"\nsplit: {train: all.txt}')
    (tmp_path / "all.txt").write_text("img_001.jpg\n")
    np.testing.assert_array_equal(labels(spec), TRUTH)
    assert names(spec, "all") == ["img_001"]
    assert not open_dataset(spec, "train").doubts


def test_folders_of_cities_and_other_names_of_splits(tmp_path):
    for split, city in (("training", "rome"), ("training", "bonn"), ("validation", "rome")):
        photo(tmp_path / "left" / split / city / "0_left.png")
        save(tmp_path / "ids" / split / city / "0_ids.png", TRUTH)
    spec = describe(
        tmp_path,
        'images: "left/{split}/{city}/{stem}_left.png"\nmasks: "ids/{split}/{city}/{stem}_ids.png"\n'
        "split: {train: training, val: validation}",
    )
    assert names(spec, "train") == ["bonn/0", "rome/0"]
    assert names(spec, "val") == ["rome/0"]


def test_folders_of_any_depth(tmp_path):
    photo(tmp_path / "images" / "a" / "b" / "1.png")
    photo(tmp_path / "images" / "2.png")
    for name in ("1", "2", "a/b/1"):
        save(tmp_path / "labels" / f"{name}.png", TRUTH)
    spec = describe(tmp_path, 'images: "images/**/{stem}"\nmasks: "labels/{stem}.png"')
    assert sorted(names(spec, "all")) == ["2", "a/b/1"]
    photo(tmp_path / "images" / "1.png")
    refused(spec, "2 files have one stem", "all")
    alike = describe(tmp_path, 'images: "images/**/{stem}"\nmasks: "labels/**/{stem}.png"')
    assert sorted(names(alike, "all")) == ["1", "2", "a/b/1"]
    (tmp_path / "labels/a/b/1.png").unlink()
    refused(alike, "an image has no mask: a/b/1 .add .*labels/a/b/1.png", "all")


@pytest.mark.parametrize("kind", ["uint8", "uint16", "palette", "tiff"])
def test_values_become_classes(tmp_path, kind):
    """Values of the file are mapped, merged and voided, with 8 bits and 16."""
    car = 1040 if kind in ("uint16", "tiff") else 40
    stored = np.select([TRUTH == 0, TRUTH == 1, TRUTH == 2], [7, car, 41], 99)
    spec = describe(tmp_path, f"ids: {{7: ground, {car}: car, 41: tree, 99: void}}")
    photo(tmp_path / "train/images/0.png")
    path = tmp_path / "train/masks" / ("0.tif" if kind == "tiff" else "0.png")
    path.parent.mkdir()
    if kind == "palette":
        image = Image.fromarray(stored.astype(np.uint8))
        image.putpalette(bytes(range(256)) * 3)
        image.save(path)
    else:
        save(path, stored.astype(np.uint8 if kind == "uint8" else np.uint16))
    np.testing.assert_array_equal(labels(spec), TRUTH)
    merged = spec.removeprefix("folder:")
    text = (tmp_path / "classes.yaml").read_text().replace("41: tree, 99: void", "other: car")
    (tmp_path / "classes.yaml").write_text(text)
    np.testing.assert_array_equal(labels(f"folder:{merged}"), np.where(TRUTH > 1, 1, TRUTH))


def test_values_that_ids_does_not_name_are_counted(tmp_path):
    spec = describe(tmp_path, "ids: {0: ground, 1: car}")
    for i in range(2):
        photo(tmp_path / f"train/images/{i}.png", i)
        save(tmp_path / f"train/masks/{i}.png", TRUTH)
    refused(spec, r"values in a mask that are no class, 2 \(4 pixels\), 255 \(1 pixels\): .*other: void")
    found = Inspection(open_dataset(spec, "train"), training=True)
    assert len(found.problems) == 2


def test_sixteen_bits_are_no_class_ids_by_themselves(tmp_path):
    photo(tmp_path / "train/images/0.png")
    spec = describe(tmp_path, "")
    save(tmp_path / "train/masks/0.png", TRUTH.astype(np.uint16))
    np.testing.assert_array_equal(labels(spec), TRUTH)
    save(tmp_path / "train/masks/0.png", np.full(TRUTH.shape, 4711, np.uint16))
    refused(spec, r"a mask of 16 bits with values up to 4711.*ids: in classes\.yaml")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours(tmp_path, mode):
    (tmp_path / "classes.yaml").write_text(COLORED + 'values: colors\nids: {"#000000": void}\n')
    photo(tmp_path / "train/images/0.png")
    path = save(tmp_path / "train/masks/0.png", colored())
    if mode != "RGB":
        Image.open(path).convert(mode, palette=Image.Palette.ADAPTIVE).save(path)
    np.testing.assert_array_equal(labels(f"folder:{tmp_path}"), TRUTH)


def test_unknown_colours_are_counted(tmp_path):
    (tmp_path / "classes.yaml").write_text(COLORED + "values: colors\n")
    photo(tmp_path / "train/images/0.png")
    save(tmp_path / "train/masks/0.png", colored())
    refused(f"folder:{tmp_path}", r"colours in a mask that are no class, #000000 \(1 pixels\): .*0\.png")
    Image.fromarray(colored()).save(tmp_path / "train/masks/0.png", format="JPEG")
    refused(f"folder:{tmp_path}", "saved as JPEG, which changes colours")


def test_a_colour_mask_says_what_to_write(tmp_path):
    photo(tmp_path / "train/images/0.png")
    save(tmp_path / "train/masks/0.png", colored())
    refused(describe(tmp_path, ""), r"not RGB: .*values: colors in classes\.yaml; segtool data init")


@pytest.mark.parametrize("high", [1, 255])
def test_binary_masks(tmp_path, high):
    (tmp_path / "classes.yaml").write_text("classes: [background, thing]\nvalues: binary\n")
    photo(tmp_path / "train/images/0.png")
    save(tmp_path / "train/masks/0.png", (TRUTH == 2).astype(np.uint8) * high)
    np.testing.assert_array_equal(labels(f"folder:{tmp_path}"), TRUTH == 2)
    save(tmp_path / "train/masks/0.png", TRUTH)
    refused(f"folder:{tmp_path}", "a binary mask of 4 values: 0, 1, 2, 255")


def test_binary_masks_that_are_jpegs(tmp_path):
    (tmp_path / "classes.yaml").write_text("classes: [background, thing]\nvalues: binary\n")
    truth = np.kron(TRUTH == 2, np.ones((16, 16), bool))
    save(tmp_path / "train/images/0.png", np.zeros((*truth.shape, 3), np.uint8))
    save(tmp_path / "train/masks/0.jpg", truth.astype(np.uint8) * 255)
    assert (labels(f"folder:{tmp_path}") != truth).mean() < 0.01


def test_a_mask_for_each_class(tmp_path):
    photo(tmp_path / "images/7.png")
    save(tmp_path / "masks/ground/7.png", (TRUTH != 255).astype(np.uint8))
    save(tmp_path / "masks/auto/7.png", (TRUTH == 1).astype(np.uint8) * 255)
    save(tmp_path / "masks/tree/7.png", TRUTH == 2)
    layout = 'images: "images/{stem}"\nmasks: "masks/{class}/{stem}"\nids: {auto: car}'
    np.testing.assert_array_equal(labels(describe(tmp_path, layout), "all"), TRUTH)
    background = labels(describe(tmp_path, layout + "\nelsewhere: tree"), "all")
    np.testing.assert_array_equal(background, np.where(TRUTH == 255, 2, TRUTH))
    save(tmp_path / "masks/cow/7.png", TRUTH == 2)
    refused(describe(tmp_path, layout), "masks of a class that is none: .*cow/7.png", "all")


def test_a_mask_for_each_object(tmp_path):
    (tmp_path / "classes.yaml").write_text(
        'classes: [background, nucleus]\nvalues: binary\nimages: "{id}/images/{stem}.png"\nmasks: "{id}/masks/*.png"\n'
    )
    photo(tmp_path / "a1/images/a1.png")
    save(tmp_path / "a1/masks/0.png", (TRUTH == 1).astype(np.uint8) * 255)
    save(tmp_path / "a1/masks/1.png", (TRUTH == 2).astype(np.uint8) * 255)
    np.testing.assert_array_equal(labels(f"folder:{tmp_path}", "all"), (TRUTH == 1) | (TRUTH == 2))


def test_a_description_that_lies_elsewhere(tmp_path):
    photo(tmp_path / "data/train/images/0.png")
    save(tmp_path / "data/train/masks/0.png", TRUTH)
    (tmp_path / "mine.yaml").write_text("classes: [ground, car, tree]\nroot: data\n")
    np.testing.assert_array_equal(labels(f"folder:{tmp_path / 'mine.yaml'}"), TRUTH)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("images: /a/{stem}", "'/a/{stem}' is no path below"),
        ("images: ../{stem}", "no path below the dataset's folder"),
        ("images: {stem}", "images is .*needs quotes"),
        ('images: "a/{stem"', "braces without a name"),
        ("values: colours", "unknown kind of values: colours .did you mean colors"),
        ("values: binary", "binary masks, and 3 classes"),
        (
            "values: colors\nclasses: [{name: a, color: [0,0,0]}, {name: b, color: [0,0,0]}]",
            "two classes",
        ),
        ("ids: {1: carr}", "unknown class in .*: carr .did you mean car"),
        ("ids: {-1: car}", "ids names the value -1"),
        ("ids: {70000: car}", r"ids names the value 70000.*0\.\.65535"),
        ("ids: {1.5: car}", "ids names 1.5"),
        ("ids: [car]", "ids says not which class"),
        ("ids: {'#ff0000': car}", "ids: names colours, and values: says ids"),
        ("elsewhere: sky", "unknown class in .*: sky"),
        ("split: {val: 1.5}", "split val is 1.5"),
        ("split: {train: 0.8}", "split leaves nothing for train"),
        ("split: {val: 0.6, test: 0.4}", "split leaves nothing for train"),
        ("split: {val: 0.2, by: filn}", "unknown way to draw splits: filn"),
        ("split: {val: 0.2, test: test.txt}", "mixes shares with"),
        ("split: {val: 0.2, seed: x}", "the seed of split is 'x'"),
        ("split: {val: 0.2}", r"\{split\} is a folder, and split: has lists or shares"),
        ('images: "a/{stem}"', r"masks has \{split\}, and images has not"),
    ],
)
def test_descriptions_that_cannot_be_meant(tmp_path, text, said):
    for part in ("train/images", "train/masks", "a"):
        (tmp_path / part).mkdir(parents=True)
    spec = describe(tmp_path, text)
    if "classes:" in text:
        (tmp_path / "classes.yaml").write_text(text)
    refused(spec, said)
