"""A run that was killed, at any moment, ends with the weights of one that was not."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from segtool.train.checkpoint_file import read_card

from ..conftest import TINY

# Everything that has a state of its own: averages, dropout, schedules, a CRF.
SETTINGS = [*TINY, "unary.ema=0.9", "model.head_dropout=0.2", "unary.epochs=3", "crf.epochs=2", "joint.epochs=2"]
SETTINGS += ["data.crop=[48, 48]", "crf.crop=[48, 48]", "snapshots.every=1", "joint.optimizer=sgd"]


def command(out, *more):
    settings = [x for s in SETTINGS for x in ("--set", s)]
    base = [sys.executable, "-m", "segtool", "train", "--preset", "quickstart", "--data", "synthetic:48"]
    return [*base, "--out", str(out), *settings, *more]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    subprocess.run(command(folder / "whole"), cwd=folder, check=True, capture_output=True)
    return folder / "whole"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_killed_again_and_again(uninterrupted, tmp_path):
    out = tmp_path / "run"
    moments = ["unary   epoch 1/3", "unary   epoch 2/3", "unary: scoring", "crf: searching", "crf     epoch 1/2"]
    moments += ["crf     epoch 2/2", "crf: scoring", "joint   epoch 1/2", "joint: scoring"]
    for moment in moments:
        arguments = command(out, *(["--resume"] if (out / "state.json").exists() else []))
        process = subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if moment in line:
                process.kill()
                break
        process.communicate()
        assert moment in seen, seen
    subprocess.run(command(out, "--resume"), cwd=tmp_path, check=True, capture_output=True)
    for stage in ("unary", "crf", "joint"):
        whole, resumed = (folder / stage / "best.safetensors" for folder in (uninterrupted, out))
        a, b = load_file(whole), load_file(resumed)
        assert [name for name in a if not torch.equal(a[name], b[name])] == []
        assert read_card(whole).crf == read_card(resumed).crf
        assert read_card(whole).validation == read_card(resumed).validation
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        ("unary", 1), ("unary", 2), ("unary", 3), ("crf", 1), ("crf", 2), ("joint", 1), ("joint", 2),
    ]  # fmt: skip
    whole_rows = [json.loads(line) for line in (uninterrupted / "history.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows] == [row["loss"] for row in whole_rows]
