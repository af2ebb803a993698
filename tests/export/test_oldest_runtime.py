"""The exported file in the oldest ONNX Runtime that segtool's metadata promises, against the installed one."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from segtool.crf.library import library_path
from segtool.runtime import load

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def oldest():
    """Its version, such as 1.17, and a folder that holds it and a NumPy that it bears."""
    promises = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["cpu"]
    version = promises[0].removeprefix("onnxruntime>=")
    folder = ROOT / "build" / f"onnxruntime-{version}-{sys.version_info.major}.{sys.version_info.minor}"
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        packages = [f"onnxruntime=={version}.*", "numpy>=1.26,<2"]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target"]
        done = subprocess.run([*pip, partial, *packages], capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(partial, ignore_errors=True)
            pytest.skip(f"needs ONNX Runtime {version}, which pip cannot install: {done.stderr.strip()[-200:]}")
        partial.replace(folder)
    return version, folder


@pytest.mark.slow
@pytest.mark.parametrize("native", [True, False], ids=["native", "bodies"])
def test_the_oldest_runtime_gives_the_same_labels(oldest, tiny_onnx, photo, tmp_path, native):
    version, folder = oldest
    np.save(tmp_path / "images.npy", np.stack([photo, photo[:, ::-1]]))
    library = str(library_path()) if native else "-"
    script = Path(__file__).with_name("plain_runtime.py")
    files = [str(tiny_onnx), library, str(tmp_path / "images.npy"), str(tmp_path / "outputs.npz")]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, script, *files], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{version}."), "another ONNX Runtime than was asked for"
    got = np.load(tmp_path / "outputs.npz")
    expected = load(tiny_onnx).batch([photo, np.ascontiguousarray(photo[:, ::-1])])
    for i, prediction in enumerate(expected):
        assert (got["labels"][i] == prediction.labels).mean() >= 0.9999
        assert (got["unary_labels"][i] == prediction.unary_labels).mean() >= 0.9999
        np.testing.assert_allclose(got["probabilities"][i], prediction.probabilities, atol=1e-3)
