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
