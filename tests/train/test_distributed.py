"""Two processes train as one does."""

import json
import os
import subprocess
import sys

import pytest

from segtool.train import distributed

# No batch norm (its statistics are each process's own on a CPU), no Dice (a ratio of each process' areas) and no
# clipping: then the mean of the gradients of two halves is the gradient of the batch, wherever void and rare classes
# lie.
CODE = """
from torch import nn

def build(classes):
    layers = []
    for a, b in ((3, 12), (12, 16)):
        layers += [nn.Conv2d(a, b, 3, padding=1, stride=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(16, classes, 1))
"""
SETTINGS = ["model={source: 'python:net.py:build'}", "data.crop=[64, 64]", "loss={dice: 0, class_weights: inverse}"]
SETTINGS += ["unary.epochs=3", "unary.validate_every=1", "unary.schedule=constant", "unary.gradient_clip=0"]
SETTINGS += ["data.scale=[1.0, 1.0]", "crf.epochs=1", "crf.crop=[48, 48]", "crf.search_images=2", "joint.epochs=1"]
SETTINGS += ["crf.bilateral_alpha=[15.0]", "crf.bilateral_beta=[13.0]", "crf.gradient_clip=0", "report.write=false"]


def train(folder, out, launcher, batch):
    settings = [*SETTINGS, f"data.batch_size={batch}", f"crf.batch_size={batch}"]
    arguments = ["-m", "segtool", "train", "--preset", "quickstart", "--data", "synthetic:48", "--out", out]
    result = subprocess.run(
        [sys.executable, *launcher, *arguments, *(x for s in settings for x in ("--set", s))],
        cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("model: ") == 1  # one of them speaks
    return [json.loads(line) for line in (folder / out / "history.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_give_the_validation_scores_of_one(tmp_path):
    (tmp_path / "net.py").write_text(CODE)
    one = train(tmp_path, "one", [], 8)
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    two = train(tmp_path, "two", launcher, 4)
    assert [(row["stage"], row["epoch"]) for row in one] == [(row["stage"], row["epoch"]) for row in two]
    for a, b in zip(one, two, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
        for side in ("before_crf", "after_crf"):
            if a[side] is not None:
                for score, value in a[side].items():
                    assert value == pytest.approx(b[side][score], abs=1e-3), (a["stage"], a["epoch"], side, score)


def test_alone_nothing_is_shared():
    assert (distributed.world(), distributed.rank(), distributed.is_first()) == (1, 0, True)
    assert distributed.gathered(3) == [3]
    with pytest.raises(ZeroDivisionError):
        distributed.on_first(lambda: 1 / 0)
