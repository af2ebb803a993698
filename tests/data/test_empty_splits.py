"""A split without one pair says what it left out, and why."""

import pytest
from click.testing import CliRunner

from segtool.cli.data import command
from segtool.data import open_dataset
from segtool.errors import SegtoolError

from .layouts import write_cityscapes, write_voc


def empty(root, spec):
    """What opening it, and what `segtool data check` say."""
    with pytest.raises(SegtoolError) as caught:
        open_dataset(f"{spec}:{root}", "train")
    result = CliRunner().invoke(command, ["check", f"{spec}:{root}", "--split", "train"])
    assert result.exit_code == 1
    assert "train: 0 images with masks" in result.output
    assert str(caught.value).partition(" (")[0] in result.output
    return str(caught.value)


def test_masks_of_other_names(folder):
    for i in range(4):
        (folder / f"train/masks/{i}.png").rename(folder / f"train/masks/{i}_mask.png")
    said = empty(folder, "folder")
    assert said.startswith("4 times: an image has no mask: 0, 1, 2 and 1 more (add ")
    assert said.endswith("or rename 0_mask.png)")


def test_cityscapes_with_training_ids_alone(tmp_path):
    write_cityscapes(tmp_path)
    for path in (tmp_path / "gtFine").rglob("*_labelIds.png"):
        path.rename(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    assert empty(tmp_path, "cityscapes").startswith("there are labelTrainIds but no labelIds (and 2 more problems")


def test_voc_list_of_two_columns(tmp_path):
    """As the lists of the classification task are."""
    write_voc(tmp_path)
    (tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt").write_text("2007_000032  1\n2007_000039 -1\n")
    assert empty(tmp_path, "voc").startswith("2 times: a listed image is missing: 2007_000032  1, 2007_000039 -1")


def test_images_in_folders_below_are_told(folder):
    (folder / "train/images/day").mkdir()
    for i in range(4):
        (folder / f"train/images/{i}.png").rename(folder / f"train/images/day/{i}.png")
    with pytest.raises(SegtoolError, match=r"empty: .*4 times: images in folders below are left out.*move them"):
        open_dataset(f"folder:{folder}", "train")


def test_a_path_without_a_name_is_told(folder):
    with pytest.raises(SegtoolError, match=f"a dataset is NAME:PATH: {folder} .folder:{folder}"):
        open_dataset(str(folder), "train")


def test_an_empty_split_says_what_it_left_out(folder):
    for i in range(4):
        (folder / f"train/images/{i}.png").rename(folder / f"train/images/{i}.psd")
    with pytest.raises(SegtoolError, match=r"the train split is empty: .*4 times: files that end in \.psd"):
        open_dataset(f"folder:{folder}", "train")
