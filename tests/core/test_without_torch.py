"""Where only segtool[cpu,eval] is installed: evaluation, looking at data and predicting import no training library."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

_RUN = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "lightning", "onnx", "timm", "onnxscript", "safetensors"}:
            raise ModuleNotFoundError(name + " is blocked", name=name)
sys.meta_path.insert(0, Block())
from segtool.cli import main
main()
"""


@pytest.mark.parametrize(
    "command",
    [
        "eval {model} --data synthetic:48 --out out --failures 0.9",
        "data check synthetic:48",
        "data stats synthetic:48",
        "data show synthetic:48 --out sheet.png",
        "predict {model} photo.png --out masks",
    ],
)
def test_command_runs(tiny_onnx, tmp_path, command):
    Image.fromarray(np.full((40, 50, 3), 120, np.uint8)).save(tmp_path / "photo.png")
    arguments = command.format(model=tiny_onnx).split()
    process = [sys.executable, "-c", _RUN, *arguments]
    result = subprocess.run(process, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr


def test_what_needs_torch_says_so(tmp_path):
    process = [sys.executable, "-c", _RUN, "eval", "model.safetensors", "--data", "synthetic:48"]
    result = subprocess.run(process, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "is not installed (pip install 'segtool[train]')" in result.stderr
