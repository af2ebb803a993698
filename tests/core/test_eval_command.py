"""`segtool eval` as a user meets it."""

import json

import pytest

from ..command_line import segtool, segtool_process


def test_eval_gives_the_same_scores_from_checkpoint_and_onnx(tiny_run, tiny_onnx, tmp_path):
    rows = []
    for model in (tiny_run, tiny_onnx):
        out = tmp_path / model.name
        result = segtool("eval", model, "--data", "synthetic:64", "--out", out, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert "boundary F" in result.stdout
        rows.append(json.loads((out / "summary.json").read_text()))
        assert len((out / "images.csv").read_text().splitlines()) == 1 + rows[-1]["images"]
    for stage in ("before_crf", "after_crf"):
        assert rows[0][stage]["miou"] == pytest.approx(rows[1][stage]["miou"], abs=1e-4)
    folders = tiny_run.name, tiny_onnx.name
    result = segtool("eval", "--compare", *folders, "--pictures", "2", "--out", "compared", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "0.00" in result.stdout.split("mIoU")[1].splitlines()[0]
    assert (tmp_path / "compared" / "report.html").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--slide", "64"], "segtool export RUN --logits writes one that does"),
        (["--tta", "flip"], "--tta needs the network in PyTorch"),
        (["--compare", "a", "b"], "give neither MODEL nor --data"),
        (["--stride", "8"], "--stride 8"),
    ],
)
def test_eval_options_that_do_not_fit(options, said, tiny_onnx, tmp_path):
    result = segtool("eval", tiny_onnx, "--data", "synthetic:64", *options, cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr


def test_eval_with_windows_and_augmentation(tiny_run, tmp_path):
    options = ("--slide", "48", "--tta", "flip,0.75", "--failures", "0.9")
    result = segtool("eval", tiny_run, "--data", "synthetic:64", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "images with an mIoU below 90 percent" in result.stdout


def test_eval_says_what_it_needs(tmp_path):
    assert "give MODEL and --data" in segtool("eval", cwd=tmp_path).stderr
    result = segtool("eval", "--compare", tmp_path, tmp_path, cwd=tmp_path)
    assert result.returncode == 2
    assert "not an evaluation folder" in result.stderr


def test_eval_with_data_of_other_classes(tiny_run, tmp_path, shared):
    result = segtool("eval", tiny_run, "--data", f"camvid:{shared / 'camvid'}", cwd=tmp_path)
    assert result.returncode == 2
    assert "the model has 5 classes, the data 11" in result.stderr


def one_image(tmp_path, classes):
    """The first synthetic image as a folder dataset with other names of its classes."""
    from PIL import Image

    from segtool.data import open_dataset

    (tmp_path / "classes.yaml").write_text(f"classes: [{classes}]\n")
    for part in ("images", "masks"):
        (tmp_path / "val" / part).mkdir(parents=True)
    sample = open_dataset("synthetic:64", "val").load(0)
    Image.fromarray(sample.image).save(tmp_path / "val" / "images" / "a.png")
    Image.fromarray(sample.labels).save(tmp_path / "val" / "masks" / "a.png")
    return f"folder:{tmp_path}"


def test_eval_refuses_classes_in_another_order_unless_told(tiny_run, tmp_path):
    data = one_image(tmp_path, "ground, block, disk, wedge, pole")
    arguments = ("eval", tiny_run, "--data", data)
    refused = segtool(*arguments, cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert (
        "classes have other ids in the data than in the model (disk is 2, not 1, block is 1, not 2)" in refused.stderr
    )
    told = segtool(*arguments, "--any-classes", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "classes have other names" in told.stderr


def test_eval_warns_once_of_data_with_other_names(tiny_run, tmp_path):
    data = one_image(tmp_path, "ground, disk, blocks, wedge, mast")
    result = segtool_process("eval", tiny_run, "--data", data, "--processes", "2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    said = "segtool: classes have other names in model and data: block / blocks, pole / mast\n"
    assert result.stderr.count("classes have other names") == 1
    assert said in result.stderr
