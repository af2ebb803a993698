"""The examples run as their docstrings say."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segtool.crf.layer import DenseCRF, KernelWidths

from ..conftest import TINY
from ..data.layouts import write_folder

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, *arguments, **options):
    command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=True, **options).stdout


@pytest.mark.slow
def test_train_your_folder(tmp_path, photo):
    write_folder(tmp_path, photo)
    said = run("train_your_folder.py", tmp_path, tmp_path / "run", *TINY, "data.batch_size=2")
    assert said.count("100.000 % of the labels are those of PyTorch") == 2
    assert (tmp_path / "run" / "model.onnx").is_file()
    assert "classes of the first image" in said


def test_crf_on_your_model(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    said = run("crf_on_your_model.py", tmp_path / "photo.png", tmp_path / "out.png")
    assert "the CRF changed" in said
    assert np.array(Image.open(tmp_path / "out.png")).shape == photo.shape


def test_a_crf_of_weight_zero_leaves_the_networks_labels(photo):
    refine = runpy.run_path(str(EXAMPLES / "crf_on_your_model.py"))["refine"]
    logits = torch.randn(1, 21, *photo.shape[:2], generator=torch.Generator().manual_seed(0))
    crf = DenseCRF(21, KernelWidths(3.0, 40.0, 8.0), (0.0, 0.0))
    before, after = refine(lambda image: {"out": logits}, crf, torch.from_numpy(photo).permute(2, 0, 1).float())
    assert torch.equal(before, logits[0].argmax(0))
    assert torch.equal(before, after)


def test_service(tiny_onnx, tmp_path, photo, monkeypatch):
    testclient = pytest.importorskip("fastapi.testclient", reason="needs httpx")
    monkeypatch.setenv("MODEL", str(tiny_onnx))
    client = testclient.TestClient(runpy.run_path(str(EXAMPLES / "service.py"))["app"])
    Image.fromarray(photo).save(tmp_path / "photo.png")
    shares = client.post("/segment", content=(tmp_path / "photo.png").read_bytes()).json()
    assert sum(shares.values()) == pytest.approx(1)
    refused = client.post("/segment", content=b"no image")
    assert (refused.status_code, refused.json()["detail"]) == (400, "not an image")
