"""The first command of the README, and parity on real photographs."""

import json
import re
import subprocess
import sys

import pytest


def _segtool(*arguments, cwd):
    command = [sys.executable, "-m", "segtool", *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The folder of a quickstart run, and what it printed."""
    folder = tmp_path_factory.mktemp("quickstart")
    return folder / "run", _segtool("quickstart", "--out", "run", cwd=folder)


@pytest.mark.slow
def test_quickstart_ends_well_and_the_crf_helps(quickstart):
    run, printed = quickstart
    assert "segtool demo" in printed
    scores = json.loads((run / "state.json").read_text())["done"]["joint"]
    for field in ("miou", "boundary_f"):
        assert scores["after_crf"][field] > scores["before_crf"][field] + 0.01
    assert all(record["passed"] for record in json.loads((run / "model.parity.json").read_text()))
    assert len(list((run / "pictures" / "after_crf").iterdir())) == 6


@pytest.mark.slow
def test_report_needs_no_network(quickstart):
    report = (quickstart[0] / "report.html").read_text()
    assert not re.search(r"(src|href)\s*=\s*['\"]?(https?:)?//", report)
    assert report.count("<img") == 24


@pytest.mark.slow
def test_parity_over_twenty_photographs(quickstart, shared, tmp_path):
    """Ten iterations on CamVid's images: bodies and native kernels both within tolerance."""
    run, _ = quickstart
    images = shared / "camvid" / "val" / "images"
    out = tmp_path / "parity.json"
    _segtool("verify", run, run / "model.onnx", "--images", images, "--limit", 20, "--out", out, cwd=tmp_path)
    records = json.loads(out.read_text())
    assert [r["images"] for r in records] == [29, 29]  # three also cropped, and with mirror images
    assert all(r["label_agreement"] >= 0.9999 and r["max_abs_dp"] <= 1e-3 for r in records)
