"""What TensorRT-RTX makes of a file, in a process of its own; see `build_without_gpu.py`."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[2]


def built(model: Path, folder: Path) -> dict[str, Any]:
    """Builds FOLDER/model.engine; what the network takes and gives: types and shapes by name."""
    result = _run("build", model, folder)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def refused(model: Path, folder: Path) -> str:
    """What a build that fails says."""
    result = _run("build", model, folder)
    assert result.returncode == 1, result.stdout
    return result.stderr.splitlines()[-1]


def handed_to_plugin(model: Path, kind: str) -> dict[str, Any]:
    """What the parser hands to the plugin of the first node of a type, and what the plugin makes of it."""
    result = _run("plugin", model, kind)
    assert result.stdout, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("the wheel tensorrt-rtx-cu13 is for Linux on x86-64")
    command = [sys.executable, "-m", "tests.export.build_without_gpu", *arguments]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=600)
