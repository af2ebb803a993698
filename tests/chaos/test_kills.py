"""Commands that are killed at a random moment leave whole files, and the same command ends what it began."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from random import Random

import numpy as np
import onnx
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
MANY = int(os.environ.get("SEGTOOL_CHAOS", "1"))


def killed(command, cwd, seconds):
    """Whether the command was still running after so many seconds; it and its children are gone then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "segtool", *map(str, command)],
        cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    assert process.returncode == 0
    return False


def finished(command, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "segtool", *map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done


def visible(folder):
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]


def test_predict(tiny_onnx, tmp_path, photo):
    random, count = Random(5), 60
    (tmp_path / "in").mkdir()
    for i in range(count):
        Image.fromarray(np.roll(photo, i, axis=1)).save(tmp_path / "in" / f"{i:03d}.png")
    command = ["predict", tiny_onnx, "in", "--out", "out", "--resume"]
    start = time.monotonic()
    finished(["predict", tiny_onnx, "in", "--out", "whole"], tmp_path)
    whole = time.monotonic() - start
    kills = 0
    while kills < 8 * MANY:
        if killed(command, tmp_path, random.uniform(0.3, 0.8) * whole):
            kills += 1
        else:  # all is done: from the beginning
            shutil.rmtree(tmp_path / "out")
        for path in visible(tmp_path / "out") if (tmp_path / "out").exists() else ():
            Image.open(path).load()
    finished(command, tmp_path)
    for mask in (tmp_path / "whole").glob("*.png"):
        np.testing.assert_array_equal(Image.open(mask), Image.open(tmp_path / "out" / mask.name))
    assert len([*(tmp_path / "out").glob("*.png")]) == count


def test_export(tiny_run, tmp_path):
    random = Random(6)
    out = tmp_path / "m.onnx"
    out.write_bytes((tiny_run / "model.onnx").read_bytes())
    before = out.read_bytes()
    kills = 0
    while kills < 2 * MANY:
        if killed(["export", tiny_run, "--out", out], tmp_path, random.uniform(3, 15)):
            kills += 1
            assert out.read_bytes() == before
        before = out.read_bytes()
        onnx.load(out)


def test_eval(tiny_onnx, tmp_path):
    random = Random(7)
    command = ["eval", tiny_onnx, "--data", "synthetic:64", "--out", "scores", "--pictures", "4"]
    kills = 0
    while kills < 3 * MANY:
        kills += killed(command, tmp_path, random.uniform(1, 5))
        for path in visible(tmp_path / "scores") if (tmp_path / "scores").exists() else ():
            if path.suffix == ".json":
                json.loads(path.read_text())
            if path.suffix == ".png":
                Image.open(path).load()
    finished(command, tmp_path)
    assert json.loads((tmp_path / "scores" / "summary.json").read_text())["images"] == 40


def test_convert(tmp_path, photo):
    """The folder is there with all that belongs to it, or not at all."""
    random, count = Random(8), 150
    for i in range(count):
        for part, pixels in (("images", np.roll(photo, i, axis=1)), ("masks", (photo[..., 0] > 150).astype(np.uint8))):
            path = tmp_path / "in" / part / f"{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    layout = "images: 'images/{stem}'\nmasks: 'masks/{stem}'\n"
    (tmp_path / "in" / "classes.yaml").write_text(f"classes: [dark, light]\n{layout}")
    command = ["data", "convert", "folder:in", "out", "--split", "all"]
    start = time.monotonic()
    finished(command, tmp_path)
    whole = time.monotonic() - start
    kills = 0
    while kills < 4 * MANY:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        kills += killed(command, tmp_path, random.uniform(0.3, 1.0) * whole)
        if (tmp_path / "out").exists():
            assert len(visible(tmp_path / "out")) == 2 * count + 1


def test_maps(with_logits, tmp_path, photo):
    random = Random(9)
    Image.fromarray(np.tile(photo, (6, 6, 1))).save(tmp_path / "map.tif")
    command = ["predict", with_logits, "map.tif", "--out", "out", "--map", "--tile", "256x256"]
    start = time.monotonic()
    finished(command, tmp_path)
    whole = time.monotonic() - start
    expected = (tmp_path / "out" / "map.tif").read_bytes()
    kills = 0
    while kills < 3 * MANY:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        kills += killed(command, tmp_path, random.uniform(0.4, 1.0) * whole)
        assert all(path.read_bytes() == expected for path in visible(tmp_path / "out")) or not kills
