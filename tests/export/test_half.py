"""Half precision is decided before the graph is written, and the graph says where it begins and ends."""

import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto

from segtool.cli import cli
from segtool.data import open_dataset
from segtool.errors import SegtoolWarning
from segtool.evaluation.evaluate import evaluate
from segtool.export.comparison import Case
from segtool.export.onnx_export import export_onnx
from segtool.export.verify import verify
from segtool.runtime import load

pytestmark = pytest.mark.slow  # they trace the network anew, which takes half a minute


@pytest.fixture(scope="module")
def half(tiny_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("half") / "model.fp16.onnx"
    export_onnx(tiny_run, path, fp16=True)
    return path


def types_of(model):
    """The element type of every tensor that shape inference can tell."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    known = [*inferred.value_info, *inferred.input, *inferred.output]
    types = {value.name: value.type.tensor_type.elem_type for value in known}
    return types | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def test_network_is_half_and_all_else_is_not(half):
    model = onnx.load(half)
    types = types_of(model)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert convolutions
    assert {types[name] for node in convolutions for name in node.input} == {TensorProto.FLOAT16}
    ours = [node for node in model.graph.node if node.domain == "segtool"]
    assert ours
    used = {types.get(name) for node in ours for name in [*node.input, *node.output]}
    assert TensorProto.FLOAT16 not in used
    into_half = [n for n in model.graph.node if n.op_type == "Cast" and n.attribute[0].i == TensorProto.FLOAT16]
    assert into_half
    assert all(n.name.startswith("network/") for n in into_half)


def test_file_is_about_half_as_large(half, tiny_onnx):
    def weights(path):
        return sum(onnx.numpy_helper.to_array(t).nbytes for t in onnx.load(path).graph.initializer)

    assert weights(half) < 0.55 * weights(tiny_onnx)


def test_labels_and_scores_are_those_of_pytorch(half, tiny_run):
    """Against float32: 99.7 % of the labels, mIoU within 0.1 point."""
    val = open_dataset("synthetic:64", "val")
    records = verify(tiny_run, half, (Case(*val.load(i)) for i in range(20)))
    assert [record.precision for record in records] == ["float16"] * 2
    for record in records:
        assert record.label_agreement >= 0.997
        assert record.passed
        assert record.max_abs_dp > 1e-6  # it is not float32 after all
    from segtool.train.checkpoint_file import read_card

    after = evaluate(load(half), val).validation_scores().after_crf
    assert after.miou == pytest.approx(read_card(tiny_run / "model.safetensors").validation.after_crf.miou, abs=1e-3)


def test_command_writes_it_beside_the_other(tiny_run, tmp_path):
    checkpoint = tmp_path / "best.safetensors"
    checkpoint.write_bytes((tiny_run / "model.safetensors").read_bytes())
    result = CliRunner().invoke(cli, ["export", str(checkpoint), "--fp16"])
    assert result.exit_code == 0, result.output
    assert "float16" in result.output
    assert load(tmp_path / "best.fp16.onnx").card.precision == "float16"


def test_nodes_are_named_after_their_modules(half, tiny_onnx):
    for path in (half, tiny_onnx):
        names = [node.name for node in onnx.load(path).graph.node]
        assert len(set(names)) == len(names)
        assert {"crf/lattice", "crf/iteration_1/bilateral", "crf/iteration_10/update"} <= set(names)
        assert any(name.endswith("encoder/model/conv_stem/Conv") for name in names)
        assert any(name.startswith("input/") for name in names)
        assert any(name.startswith("output/ArgMax") for name in names)


def test_prediction_is_whole_on_an_odd_size(half):
    prediction = load(half)(np.random.default_rng(0).integers(0, 256, (37, 91, 3), np.uint8))
    assert prediction.labels.shape == (37, 91)
    assert np.isfinite(prediction.confidence).all()


def test_a_runtime_that_is_wrong_in_half_precision_is_told(half, tiny_onnx, monkeypatch):
    monkeypatch.setattr(onnxruntime, "__version__", "1.19.2")
    with pytest.warns(SegtoolWarning, match="1.19.2 is wrong in half precision on a processor .*onnxruntime>=1.20"):
        load(half)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SegtoolWarning)
        load(tiny_onnx)
        monkeypatch.setattr(onnxruntime, "__version__", "1.20.0")
        load(half)
