"""What others do to an exported file before they run it: it stays a model that gives the same."""

import numpy as np
import onnx
import onnxruntime as ort
import onnxscript.optimizer
import pytest
from onnx import inliner, version_converter

from segtool.crf.library import library_path
from segtool.runtime import load


def slimmed(path, out):
    onnxslim = pytest.importorskip("onnxslim")
    onnxslim.slim(str(path), str(out))


def simplified(path, out):
    onnxsim = pytest.importorskip("onnxsim")
    onnx.save(onnxsim.simplify(onnx.load(path))[0], out)


def inlined(path, out):
    onnx.save(inliner.inline_local_functions(onnx.load(path)), out)


def optimized(path, out):
    onnx.save(onnxscript.optimizer.optimize(onnx.load(path)), out)


def optimized_offline(path, out, native=False):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(out)
    if native:
        options.register_custom_ops_library(str(library_path()))
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def optimized_for_the_library(path, out):
    optimized_offline(path, out, native=True)


def converted(path, out):
    onnx.save(version_converter.convert_version(onnx.load(path), 20), out)


def same(path, other, image, native):
    one, two = load(path, native=native)(image), load(other, native=native)(image)
    assert (one.labels == two.labels).mean() >= 0.9999
    np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-4)


slow = pytest.param(optimized, marks=pytest.mark.slow), pytest.param(optimized_offline, marks=pytest.mark.slow)


@pytest.mark.parametrize("tool", [slimmed, simplified, inlined, *slow])
def test_the_file_stays_what_it_was(tiny_onnx, tmp_path, photo, tool):
    tool(tiny_onnx, tmp_path / "m.onnx")
    for native in (False, True):
        same(tiny_onnx, tmp_path / "m.onnx", photo, native)


@pytest.mark.parametrize("tool", [optimized_for_the_library, converted])
def test_the_definition_gets_lost_but_the_library_runs_it(tiny_onnx, tmp_path, photo, tool):
    tool(tiny_onnx, tmp_path / "m.onnx")
    assert not onnx.load(tmp_path / "m.onnx").functions
    same(tiny_onnx, tmp_path / "m.onnx", photo, native=True)


def test_values_inside_functions_are_named_apart(tiny_onnx):
    """onnxsim, which need not be here, takes two of one name for one and asks for 20 GB."""
    inside = []
    for function in onnx.load(tiny_onnx).functions:
        made = {value for node in function.node for value in node.output} - set(function.output)
        inside.extend(made)
    assert inside
    assert len(set(inside)) == len(inside)
