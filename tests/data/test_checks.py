"""What is wrong with a dataset is refused, what looks wrong is told, whatever kind of dataset it is."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from segtool.cli.data import command
from segtool.data import open_dataset
from segtool.data.checks.inspection import Inspection, check_all
from segtool.errors import SegtoolError

from .layouts import write_ade20k, write_mask
from .samples import IMAGE, LABELS, image, masks


def look(root):
    train, val = (open_dataset(f"folder:{root}", split) for split in ("train", "val"))
    return [str(group) for group in check_all(train, val).doubts]


def test_nothing_to_say_of_a_good_dataset(folder):
    assert look(folder) == []


def refused(root, match):
    with pytest.raises(SegtoolError, match=match) as caught:
        look(root)
    assert "\n" not in str(caught.value)


def test_masks_of_0_and_255(folder):
    """Of all images: the thing would be void. Of some: a warning."""
    masks(folder, LABELS * 255, count=2)
    (said,) = look(folder)
    assert said.startswith("2 times: a mask of 0 and 255 alone, which is void: ")
    assert said.endswith("1.png (write thing as 1)")
    masks(folder, LABELS * 255)
    refused(folder, r"all labelled training pixels are ground: train .255 is void: write class ids 0\.\.1")


def test_a_dataset_of_one_class(folder):
    (folder / "classes.yaml").write_text("classes: [thing]\n")
    masks(folder, LABELS * 0)
    refused(folder, "1 class: every pixel would be right.*background")


def test_void_only_validation(folder):
    masks(folder, LABELS * 0 + 255, "val")
    refused(folder, "there are no labels in the val masks: val .all is void, 255")


def test_a_class_without_a_pixel(folder):
    (folder / "classes.yaml").write_text("classes: [ground, thing, sky, sea]\n")
    training, validation = look(folder)
    assert training == "2 times: a class without one training pixel: sky, sea (it cannot be learned)"
    assert "validation pixel" in validation


def test_levels_that_are_not_what_they_seem(folder):
    image(folder, (IMAGE[..., 0] / 255).astype(np.float32), suffix="tif")
    refused(folder, r"an image of floating-point levels 0\.0\d+\.\.0\.\d+: .*0\.tif .scale them to 0\.\.255 and save 8")


@pytest.mark.parametrize("level", [-1, 70000])
def test_levels_beyond_sixteen_bits(folder, level):
    pixels = IMAGE[..., 0].astype(np.int32)
    pixels[0, 0] = level
    image(folder, pixels, suffix="tif")
    refused(folder, rf"an image of integer levels .*{level}")


def test_twelve_bits_in_a_file_of_sixteen(folder):
    for i in range(2):
        image(folder, (16 * np.random.default_rng(i).integers(0, 256, IMAGE.shape[:2])).astype(np.uint16), name=str(i))
    (said,) = look(folder)
    assert said.startswith("2 times: a black image, no level above 16: 0, 1 (")
    image(folder, np.full(IMAGE.shape, 250, np.uint8), "val")
    assert look(folder)[1].startswith("a white image, no level below 250: 0")


def four_bands(root, **options):
    pixels = np.random.default_rng(1).integers(1, 255, (8, 12, 4), np.uint8)
    return image(root, pixels, suffix="tif", **options), pixels


def test_a_fourth_band_that_is_not_said_to_be_alpha_is_left_out(folder):
    path, pixels = four_bands(folder)
    drop_tag(path, 338)
    dataset = open_dataset(f"folder:{folder}", "train")
    np.testing.assert_array_equal(dataset.load(0).image, pixels[..., :3])
    (said,) = look(folder)
    assert said.startswith("bands beyond red, green and blue are left out: ")


def drop_tag(path, tag):
    """Turns an entry of a little-endian TIFF into one of a private number, which no reader knows."""
    data = path.read_bytes()
    entry = tag.to_bytes(2, "little") + (3).to_bytes(2, "little")
    assert data.count(entry) == 1
    path.write_bytes(data.replace(entry, (65000).to_bytes(2, "little") + entry[2:]))


def test_alpha_that_hardly_is_transparency(folder):
    four_bands(folder)
    (said,) = look(folder)
    assert said.startswith("transparency that is neither all nor nothing nearly everywhere")


def test_a_turn_that_keeps_the_size(folder):
    exif = Image.Exif()
    exif[0x0112] = 3
    image(folder, IMAGE, suffix="jpg", exif=exif)
    (said,) = look(folder)
    assert said.startswith("images are turned as their EXIF says, masks are not: ")


def test_pictures_that_are_trained_on_and_scored_on(folder):
    for split in ("train", "val"):
        image(folder, IMAGE, split, "3")
    assert look(folder) == [
        "an image of val is a training image too: 3 (scores on it say nothing of new images)",
    ]
    result = CliRunner().invoke(command, ["check", f"folder:{folder}"])
    assert result.exit_code == 0
    assert "val: warning: an image of val is a training image too: 3" in result.output
    assert result.output.splitlines()[-1] == "no problems, 1 warning"


def test_one_picture_again_and_again(folder):
    for i in range(4):
        image(folder, IMAGE, name=str(i))
    assert look(folder) == ["all 4 images are the same picture: train"]


def test_masks_that_are_pictures(folder):
    write_mask(folder / "train/masks/0.png", np.arange(96).reshape(8, 12))
    refused(folder, "94 values in a mask that are no class; classes are .*is it a picture")
    Image.fromarray(LABELS).save(folder / "train/masks/0.jpg")
    (folder / "train/masks/0.png").unlink()
    refused(folder, "a mask saved as JPEG, which changes class ids: .*0.jpg .save it as PNG")


def test_files_that_are_no_pair(folder):
    mask = folder / "train/masks/0.png"
    mask.write_bytes((folder / "train/images/0.png").read_bytes())
    refused(folder, "image and mask are the same file: .*masks/0.png")
    write_mask(mask, LABELS)
    write_mask(folder / "train/masks/none.png", LABELS)
    (folder / "train/images/b.psd").write_bytes(b"")
    left_out, lone = look(folder)
    assert left_out.startswith("files that end in .psd are left out: ")
    assert lone.startswith("a mask has no image, and is left out: ")
    Image.fromarray(IMAGE).save(folder / "train/images/0.jpg")
    refused(folder, "2 times: 2 files have one stem.*0.jpg.*0.png")


def test_problems_of_a_kind_are_one_line(folder):
    for i in range(4):
        write_mask(folder / "train/masks" / f"{i}.png", LABELS * (i + 2))
    (folder / "val/images/1.png").write_text("hello")
    refused(folder, r"4 times: label 2 in a mask.*1 more problems.*0\.png, .*1\.png, .*2\.png and 1 more .correct")
    said = CliRunner().invoke(command, ["check", f"folder:{folder}"]).output.splitlines()
    assert [line.partition(":")[0] for line in said] == ["train", "train", "val", "val", "5 problems"]


def test_ade20k_shows_the_value_in_the_file(tmp_path):
    write_ade20k(tmp_path)
    path = tmp_path / "annotations/training/ADE_train_00000001.png"
    write_mask(path, np.full((12, 20), 151))
    (problem,) = Inspection(open_dataset(f"ade20k:{tmp_path}", "train"), training=True).problems
    assert (problem.what, problem.where) == ("values in a mask that are no class, 151 (240 pixels)", str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: [no, yes]", 'name of class 0 is False to YAML, of type bool: .*quote it.*"no"'),
        ("classes: [a, 1]", "name of class 1 is 1 to YAML, of type int"),
        ("classes: [a, {name: on}]", "name of class 1 is True to YAML"),
        ("classes: [a, ~]", "name of class 1 is None to YAML"),
        ("classes: [a, b]\nignore_index: yes", "ignore_index is not a number"),
        ("classes: [a, b]\nignore: 7", "unknown key in .*classes.yaml: ignore .did you mean ignore_index"),
        ("classes: [" + ", ".join(f"c{i}" for i in range(256)) + "]", r"256 classes, 255 are possible: .*0\.\.254"),
    ],
)
def test_classes_that_are_not_what_they_seem(folder, text, message):
    (folder / "classes.yaml").write_text(text)
    refused(folder, message)


def test_home_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(open_dataset(f"folder:~/{folder.name}", "train")) == 4
