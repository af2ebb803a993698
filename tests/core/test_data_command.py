"""segtool data: check, stats, show."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from segtool.cli.data import command
from segtool.errors import SegtoolError


@pytest.fixture
def folder(tmp_path):
    """Two images 8x6 for each split: class 0 with a row of class 1, a column of void."""
    (tmp_path / "classes.yaml").write_text("classes: [ground, thing]\n")
    for split in ("train", "val"):
        for part in ("images", "masks"):
            (tmp_path / split / part).mkdir(parents=True)
        for name in ("a", "b"):
            labels = np.zeros((6, 8), np.uint8)
            labels[0], labels[:, 7] = 1, 255
            Image.fromarray(labels).save(tmp_path / split / "masks" / f"{name}.png")
            Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(tmp_path / split / "images" / f"{name}.png")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments])


def test_check_of_a_good_dataset(folder):
    result = run("check", f"folder:{folder}")
    assert result.exit_code == 0, result.output
    assert "train: 2 images with masks, 2 classes" in result.output
    assert "no problems" in result.output


def test_check_lists_every_problem(folder):
    (folder / "train/masks/a.png").unlink()
    (folder / "train/images/b.png").write_text("hello")
    Image.fromarray(np.full((6, 8), 5, np.uint8)).save(folder / "val/masks/a.png")
    result = run("check", f"folder:{folder}")
    assert result.exit_code == 1
    for said in ("an image has no mask: a", "not an image", "label 5 in a mask", "3 problems"):
        assert said in result.output


def test_stats(folder, tmp_path):
    result = run("stats", f"folder:{folder}", "--plot", tmp_path / "plot.png")
    assert result.exit_code == 0, result.output
    thing = next(line for line in result.output.splitlines() if "thing" in line)
    assert "16.667" in thing  # 7 of 42 labelled pixels
    assert "void: 12.50 percent" in result.output
    assert "6x8 (2 images)" in result.output
    assert Image.open(tmp_path / "plot.png").width > 300


def test_show(folder, tmp_path):
    result = run("show", f"folder:{folder}", "--out", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "sheet.png").size == (4 * 320, 480)


@pytest.mark.parametrize(("action", "option"), [("show", "--out"), ("stats", "--plot")])
def test_pictures_of_no_known_kind_are_refused_at_once(folder, tmp_path, action, option):
    result = run(action, f"folder:{folder}", option, tmp_path / "picture")
    assert isinstance(result.exception, SegtoolError)
    assert f"{option} must end in .png or " in str(result.exception)
