"""The first command of the README, and the CamVid promises, for real."""

import json
import subprocess
import sys

import numpy as np
import pytest


def _segtool(*arguments, cwd):
    command = [sys.executable, "-m", "segtool", *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
def test_quickstart_ends_well_and_the_crf_helps(tmp_path):
    printed = _segtool("quickstart", "--out", "run", cwd=tmp_path)
    assert "segtool demo" in printed
    scores = json.loads((tmp_path / "run" / "state.json").read_text())["done"]["joint"]
    for field in ("miou", "boundary_f"):
        assert scores["after_crf"][field] > scores["before_crf"][field] + 0.01
    assert all(record["passed"] for record in json.loads((tmp_path / "run" / "model.parity.json").read_text()))
    report = (tmp_path / "run" / "report.html").read_text()
    assert "http" not in report.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")
    assert len(list((tmp_path / "run" / "pictures" / "after_crf").iterdir())) == 6


@pytest.mark.slow
def test_parity_over_camvid_images(shared, tmp_path):
    """Twenty real images, ten iterations: bodies and native kernels both within tolerance."""
    settings = [
        "unary.epochs=1",
        "unary.validate_every=1",
        "crf.epochs=1",
        "crf.search_images=2",
        "joint.epochs=0",
    ]
    settings += ["crf.spatial_gamma=[2.0]", "crf.bilateral_alpha=[20.0]", "crf.bilateral_beta=[8.0]"]
    settings += ["data.validation_images=2"]
    _segtool(
        "train", "--preset", "camvid-small", "--data", f"camvid:{shared / 'camvid'}", "--out", "run",
        "--stages", "unary,crf", *(x for s in settings for x in ("--set", s)), cwd=tmp_path,
    )  # fmt: skip
    _segtool("export", "run", cwd=tmp_path)
    _segtool(
        "verify",
        "run",
        "run/model.onnx",
        "--images",
        shared / "camvid/val/images",
        "--limit",
        20,
        cwd=tmp_path,
    )
    records = json.loads((tmp_path / "run" / "model.parity.json").read_text())
    assert [r["images"] for r in records] == [20, 20]
    assert np.all([r["label_agreement"] >= 0.9999 and r["max_abs_dp"] <= 1e-3 for r in records])
