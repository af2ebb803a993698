"""The loop of labelling with a model's help: rank, pre-label, pseudo-labels, train on them."""

import csv

import numpy as np
import pytest
from PIL import Image

from segtool.data import open_dataset
from segtool.data.ranking import Look, rank
from segtool.runtime import load

from ..command_line import segtool


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four images in a folder and one below it."""
    root = tmp_path_factory.mktemp("labelling") / "photos"
    dataset = open_dataset("synthetic:64", "val")
    for i in range(4):
        path = root / ("more" if i == 3 else "") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dataset.load(i).image).save(path)
    return root


def predict(tiny_onnx, photos, out, *options):
    done = segtool("predict", tiny_onnx, photos, "--out", out, *options, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_below_the_threshold_is_void(tiny_onnx, photos, tmp_path):
    predict(tiny_onnx, photos, tmp_path / "out", "--threshold", "0.6")
    found = load(tiny_onnx)(photos / "more" / "3.png")
    expected = np.where(found.confidence < 0.6, 255, found.labels)
    assert 0 < (expected == 255).mean() < 1
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out" / "more" / "3.png")), expected)


def test_tiles_have_a_threshold_too(tiny_onnx, photos, tmp_path):
    predict(tiny_onnx, photos, tmp_path / "out", "--threshold", "0.6", "--tile", "48x48")
    values = np.array(Image.open(tmp_path / "out" / "0.png"))
    assert 0 < (values == 255).mean() < 1


def test_results_of_another_threshold_are_made_anew(tiny_onnx, photos, tmp_path):
    predict(tiny_onnx, photos, tmp_path / "out")
    said = predict(tiny_onnx, photos, tmp_path / "out", "--threshold", "0.99", "--resume")
    assert "before" not in said
    assert (np.array(Image.open(tmp_path / "out" / "0.png")) == 255).any()
    assert "4 of them before" in predict(tiny_onnx, photos, tmp_path / "out", "--threshold", "0.99", "--resume")


def test_pseudo_labels_are_trained_on_at_once(tiny_onnx, photos, tmp_path):
    said = predict(tiny_onnx, photos, tmp_path / "pseudo", "--threshold", "0.6")
    assert f"written: {(tmp_path / 'pseudo').resolve() / 'classes.yaml'}" in said
    dataset = open_dataset(f"folder:{tmp_path / 'pseudo'}", "train")
    assert sorted(dataset.identifier(i) for i in range(len(dataset))) == ["0", "1", "2", "more/3"]
    settings = ("unary.epochs=1", "data.batch_size=2", "data.crop=[64,64]", "data.workers=0", "report.write=false")
    options = [option for setting in settings for option in ("--set", setting)]
    train = ("train", "--preset", "quickstart", "--data", "synthetic:64", "--stages", "unary", "--out", "run", *options)
    done = segtool(*train, "--also", f"folder:{tmp_path / 'pseudo'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    images = len(open_dataset("synthetic:64", "train"))
    assert f"checking {images + 4} training and" in done.stdout
    (tmp_path / "pseudo" / "classes.yaml").write_text("classes: [a, b]\nroot: ..\n")
    again = segtool(*train[:-1], "--also", f"folder:{tmp_path / 'pseudo'}", "--out", "other", cwd=tmp_path)
    assert again.returncode == 2


def test_images_and_pseudo_labels_in_each_other(tiny_onnx, photos, tmp_path):
    inside = photos / "results"
    done = segtool("predict", tiny_onnx, photos, "--out", inside, "--threshold", "0.6", cwd=tmp_path)
    assert done.returncode == 2
    assert "images and masks lie in each other" in done.stderr
    assert not inside.exists()


@pytest.mark.parametrize("form", ["coco", "yolo", "labelme", "cvat", "geojson"])
def test_polygons_of_predictions(tiny_onnx, photos, tmp_path, form):
    out = tmp_path / "out"
    predict(tiny_onnx, photos, out, "--format", form, "--simplify", "0", "--smallest", "1")
    names = {"coco": "annotations.json", "cvat": "annotations.xml", "yolo": "data.yaml"}
    assert (out / names.get(form, f"more/3.{'geojson' if form == 'geojson' else 'json'}")).is_file()
    if form == "labelme":  # it finds the images where they are
        masks = {path.stem: np.array(Image.open(path)) for path in out.rglob("*.png")}
        dataset = open_dataset(f"labelme:{out}", "all")
        order = {c.name: c.id for c in load(tiny_onnx).card.classes}
        table = np.array([order.get(c.name, 99) for c in dataset.classes])
        for i in range(len(dataset)):
            stem = dataset.identifier(i).split("/")[-1]
            np.testing.assert_array_equal(table[dataset.load(i).labels], masks[stem])


def test_polygons_of_a_run_that_was_stopped(tiny_onnx, photos, tmp_path):
    out = tmp_path / "out"
    predict(tiny_onnx, photos, out, "--format", "coco")
    first = (out / "annotations.json").read_text()
    (out / "annotations.json").unlink()
    (out / "1.png").unlink()
    predict(tiny_onnx, photos, out, "--format", "coco", "--resume")
    assert (out / "annotations.json").read_text() == first


def test_corrected_polygons_are_not_overwritten(tiny_onnx, photos, tmp_path):
    out = tmp_path / "out"
    predict(tiny_onnx, photos, out, "--format", "labelme")
    corrected = out / "0.json"
    corrected.write_text(corrected.read_text().replace('"shapes"', '"corrected": true, "shapes"'))
    text = corrected.read_text()
    (out / "1.json").unlink()
    done = segtool("predict", tiny_onnx, photos, "--out", out, "--format", "labelme", cwd=tmp_path)
    assert done.returncode == 2
    assert "there are polygons already" in done.stderr
    predict(tiny_onnx, photos, out, "--format", "labelme", "--resume")
    assert corrected.read_text() == text
    assert (out / "1.json").is_file()


def test_images_that_a_tool_cannot_tell_apart(tiny_onnx, photos, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    (again / "0.png").write_bytes((photos / "0.png").read_bytes())
    done = segtool("predict", tiny_onnx, photos, again, "--out", "out", "--format", "coco", cwd=tmp_path)
    assert done.returncode == 2
    assert "two images are called 0.png" in done.stderr
    Image.open(again / "0.png").save(again / "0.jpg")
    for options in (("--format", "yolo"), ("--threshold", "0.5")):
        done = segtool("predict", tiny_onnx, again, "--out", "out", *options, cwd=tmp_path)
        assert done.returncode == 2
        assert "rename it" in done.stderr
    assert not (tmp_path / "out").exists()


def test_polygons_and_ray(tiny_onnx, photos, tmp_path):
    options = ("--address", "local", "--format", "coco")
    done = segtool("predict", tiny_onnx, photos, "--out", tmp_path / "out", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert "--address writes masks, no polygons" in done.stderr


def test_the_least_certain_comes_first_and_its_copy_last():
    content = np.eye(4, 80, dtype=np.float32)
    looks = [Look(u, content[c]) for u, c in ((0.2, 0), (0.5, 1), (0.49, 1), (0.3, 2), (0.1, 3))]
    order = rank(looks, 4)
    assert [ranked.image for ranked in order][:2] == [1, 3]
    assert [ranked.image for ranked in order][-1] == 2
    assert [ranked.image for ranked in rank(looks, 1)] == [1, 2, 3, 0, 4]
    assert rank([], 4) == []


def test_rank(tiny_onnx, photos, tmp_path):
    (photos / "broken.jpg").write_text("hello")
    try:
        done = segtool("data", "rank", tiny_onnx, photos, "--out", "rank.csv", cwd=tmp_path)
    finally:
        (photos / "broken.jpg").unlink()
    assert done.returncode == 2
    assert "not an image" in done.stderr
    assert "4 of 5 images ranked: rank.csv" in done.stdout
    rows = [*csv.DictReader((tmp_path / "rank.csv").open())]
    assert sorted(row["image"] for row in rows) == ["0.png", "1.png", "2.png", "more/3.png"]
    model = load(tiny_onnx)
    for row in rows:
        expected = 1 - model(photos / row["image"]).confidence.mean()
        assert float(row["uncertainty"]) == pytest.approx(expected, abs=1e-4)
    assert float(rows[0]["uncertainty"]) == max(float(row["uncertainty"]) for row in rows)
