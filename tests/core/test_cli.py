"""The command line as a user meets it."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from segtool.cli import _shown, cli
from segtool.errors import SegtoolWarning

from ..command_line import segtool, segtool_process


def test_help_imports_nothing_heavy(tmp_path):
    probe = (
        "import sys, segtool.cli\n"
        "try: segtool.cli.cli(['--help'])\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({m.partition('.')[0] for m in sys.modules} & "
        "{'torch', 'numpy', 'onnx', 'onnxruntime', 'gradio', 'pydantic', 'lightning', 'matplotlib'}))"
    )
    result = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "HEAVY []" in result.stdout


def test_threads_that_wait_sleep(tmp_path):
    """OpenMP reads its settings when PyTorch is loaded, and says what it read."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    told = segtool_process("doctor", cwd=tmp_path, env={**env, "OMP_DISPLAY_ENV": "true"}).stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in told


@pytest.mark.parametrize("name", list(cli.list_commands(None)))
def test_every_command_has_help(name):
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_unknown_command_suggests_the_near_one():
    result = CliRunner().invoke(cli, ["trian"])
    assert result.exit_code == 2
    assert "did you mean train" in result.output


def test_user_errors_are_one_line_and_exit_code_2(tmp_path):
    result = segtool_process("train", "--preset", "quikstart", "--data", "synthetic", "--out", "run", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.strip() == "segtool: unknown preset: quikstart (did you mean quickstart?)"
    assert not (tmp_path / "run").exists()


def test_debug_shows_the_traceback(tmp_path):
    result = segtool_process("--debug", "predict", "none.safetensors", "x.png", "--out", "out", cwd=tmp_path)
    assert "Traceback" in result.stderr


def test_missing_model(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    for model in ("none.onnx", "none.safetensors", "none"):
        result = segtool("predict", model, "x.png", "--out", "out", cwd=tmp_path)
        assert result.returncode == 2
        assert "no such model" in result.stderr


_WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from segtool.cli import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("predict none.safetensors x.png --out out", "no such model"),
        ("train --preset quikstart --data synthetic --out run", "unknown preset"),
        ("train --preset quickstart --data synthetic --out run --set unary.epoch=3", "epoch"),
        ("train --preset quickstart --data synthetic --out run --stages unary,crv", "crv"),
    ],
)
def test_slips_are_told_before_pytorch_is_loaded(arguments, said, tmp_path):
    command = [sys.executable, "-c", _WITHOUT_TORCH, *arguments.split()]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert said in result.stderr


def test_warnings_are_one_line_too(capsys):
    others = []
    show = _shown(lambda *warning: others.append(warning))
    show(SegtoolWarning("going on on the CPU"), SegtoolWarning, "models.py", 40)
    assert capsys.readouterr().err == "segtool: going on on the CPU\n"
    show("old", DeprecationWarning, "models.py", 40)
    assert others == [("old", DeprecationWarning, "models.py", 40)]


def test_doctor_reports(tmp_path):
    result = segtool("doctor", cwd=tmp_path)
    assert result.returncode == 0
    assert "native library" in result.stdout
    assert "CUDA kernels" in result.stdout
    text = " ".join(result.stdout.split())
    assert "ONNX Runtime CPU runs, native CRF kernels register" in text
    if "no CUDA device is visible" in text:
        assert "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'segtool[gpu]'" in text


def test_predict_writes_masks_and_goes_on_past_a_bad_image(tiny_onnx, tmp_path, photo):
    import numpy as np
    from PIL import Image

    (tmp_path / "in").mkdir()
    Image.fromarray(photo).save(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.jpg").write_text("not an image")
    result = segtool("predict", tiny_onnx, "in", "--out", "out", cwd=tmp_path)
    assert result.returncode == 2
    assert "bad.jpg" in result.stderr
    assert "1 of 2 images" in result.stdout
    mask = Image.open(tmp_path / "out" / "good.png")
    assert mask.mode == "P"
    assert np.array(mask).shape == photo.shape[:2]
    assert Image.open(tmp_path / "out" / "good_overlay.jpg").size == mask.size


def test_tiles_of_predict(tiny_onnx, tmp_path, photo):
    from PIL import Image

    Image.fromarray(photo).save(tmp_path / "a.jpg")
    result = segtool("predict", tiny_onnx, "a.jpg", "--out", "out", "--tile", "64x96", cwd=tmp_path)
    assert result.returncode == 0, result.stderr  # they overlap by a quarter, where 128 pixels would be too many
    assert Image.open(tmp_path / "out" / "a.png").size == photo.shape[1::-1]
    options = ("--tile", "64x96", "--overlap", "64")
    result = segtool("predict", tiny_onnx, "a.jpg", "--out", "other", *options, cwd=tmp_path)
    assert "tiles of 64 pixels cannot overlap by 64" in result.stderr
    assert not (tmp_path / "other").exists()


def test_predict_overwrites_no_image(tiny_onnx, tmp_path, photo):
    from PIL import Image

    (tmp_path / "in").mkdir()
    Image.fromarray(photo).save(tmp_path / "in" / "a.png")
    before = (tmp_path / "in" / "a.png").read_bytes()
    result = segtool("predict", tiny_onnx, "in", "--out", tmp_path / "in", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "results would lie among the images" in result.stderr
    result = segtool("predict", tiny_onnx, "in/a.png", "--out", tmp_path / "in", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "the result would overwrite an image" in result.stderr
    assert (tmp_path / "in" / "a.png").read_bytes() == before


def test_bench_tells_latency_stages_and_cold_start(tiny_run, tiny_onnx, tmp_path):
    arguments = ("bench", tiny_onnx, "--size", "48x64", "--runs", "4", "--cold", "--out", "b.json")
    result = segtool(*arguments, "--against", tiny_run, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "p50" in result.stdout
    exported, torch = json.loads((tmp_path / "b.json").read_text())["rows"]
    assert exported["backend"] == "ONNX Runtime CPU, native library"
    assert torch["backend"] == "PyTorch"
    assert exported["p50"] == sorted(exported["milliseconds"])[1]
    assert exported["p99"] == max(exported["milliseconds"])
    assert sum(exported["stages"].values()) == pytest.approx(1)
    assert torch["stages"] == {}
    assert 20 << 20 < exported["cold"]["peak_bytes"] < torch["cold"]["peak_bytes"]
    assert (tmp_path / "b.png").stat().st_size > 1000


def test_bench_writes_its_numbers_where_nothing_draws(tiny_onnx, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = tmp_path / "b.json"
    result = CliRunner().invoke(cli, ["bench", str(tiny_onnx), "--size", "48x64", "--runs", "1", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "no plot: matplotlib is not installed" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]
    assert {"numpy", "onnxruntime", "segtool"} <= json.loads(out.read_text())["versions"].keys()


def test_bench_in_batches(tiny_run, tiny_onnx, tmp_path):
    result = segtool("bench", tiny_onnx, "--size", "48x64", "--runs", "1", "--batch", "3", cwd=tmp_path)
    assert "3x48x64" in result.stdout
    assert segtool("bench", tiny_onnx, "--size", "64", cwd=tmp_path).returncode == 2
    assert "one image at a time" in segtool("bench", tiny_run, "--batch", "2", cwd=tmp_path).stderr
