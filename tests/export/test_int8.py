"""The network in 8 bits: Q/DQ around its layers, nothing else touched, and nearly the same labels."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator, load_tensors_data

from segtool.card import METADATA_KEY
from segtool.cli import cli
from segtool.data import open_dataset
from segtool.errors import SegtoolError
from segtool.export.calibration import save_ranges
from segtool.export.int8 import NETWORK, quantize_network
from segtool.export.save import save_onnx
from segtool.export.verify import TOLERANCES
from segtool.runtime import load

from .real_build import built, refused


@pytest.fixture(scope="module")
def pictures():
    dataset = open_dataset("synthetic:96", "train")
    return [dataset.load(i).image for i in range(12)]


@pytest.fixture(scope="module", params=["tensorrt", pytest.param("cpu", marks=pytest.mark.slow)])
def quantized(request, tiny_onnx, pictures):
    return request.param, quantize_network(onnx.load(tiny_onnx), pictures, request.param)


def test_labels_are_nearly_those_of_float32(quantized, tiny_onnx, pictures, tmp_path):
    save_onnx(quantized[1], tmp_path / "m.onnx")
    wide, narrow = load(tiny_onnx), load(tmp_path / "m.onnx")
    assert wide.card == narrow.card
    for images in ([pictures[0]], pictures[1:3], [pictures[3][:61, :83].copy()]):
        for one, other in zip(wide.batch(images), narrow.batch(images), strict=True):
            # A network that was trained for seconds is sure of little, and loses 2 to 20 % of its labels, as chance has
            # it (a real one, 1 %). What it is sure of has to stay.
            second, first = np.partition(one.probabilities, -2, axis=0)[-2:]
            sure = first - second > 0.5
            assert sure.mean() > 0.1
            assert (one.labels == other.labels)[sure].mean() >= 0.9
            assert np.abs(one.confidence - other.confidence).max() > 0, "nothing was quantized"


def test_only_the_network_changes(quantized, tiny_onnx):
    before, after = onnx.load(tiny_onnx).graph, quantized[1].graph
    outside = [[n for n in graph.node if not n.name.startswith(NETWORK)] for graph in (before, after)]
    assert outside[0] == outside[1]
    assert len({n.name for n in after.node}) == len(after.node)
    assert not any(n.op_type == "BatchNormalization" for n in after.node), "folded before it is quantized"
    convolutions = [n for n in after.node if n.op_type == "Conv"]
    made = {value: n for n in after.node for value in n.output}
    assert convolutions
    for node in convolutions:
        assert [made[value].op_type for value in node.input[:2]] == ["DequantizeLinear"] * 2


def test_each_target_gets_what_it_takes(quantized):
    target, model = quantized
    tensors = {t.name: t for t in model.graph.initializer}
    kinds, around_zero = set(), True
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            zero = tensors[node.input[2]]
            kinds.add(zero.data_type)
            around_zero &= not numpy_helper.to_array(zero).any()
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors and target == "tensorrt":
            assert tensors[node.input[0]].data_type == TensorProto.INT8, "weights alone, no bias"
    assert kinds == {TensorProto.INT8 if target == "tensorrt" else TensorProto.UINT8}
    assert around_zero == (target == "tensorrt")


def test_tensorrt_builds_it(quantized, tmp_path):
    target, model = quantized
    save_onnx(model, tmp_path / "m.onnx")
    if target == "tensorrt":
        assert built(tmp_path / "m.onnx", tmp_path)["outputs"]["labels"][0] == "UINT8"
    else:
        assert "TensorRT's parser refuses the file" in refused(tmp_path / "m.onnx", tmp_path)


@pytest.fixture
def layers(tmp_path):
    """A network of two layers, and what it is given: rather different from one time to the next."""
    random = np.random.default_rng(0)
    text = "<ir_version: 8, opset_import: ['' : 18]> g (float[1, 3, h, w] x) => (float[1, 4, h, w] z)".replace("'", '"')
    model = onnx.parser.parse_model(
        f"{text} {{ y = Conv <kernel_shape = [3, 3]> (x, a)  r = Relu (y)  z = Conv (r, b) }}"
    )
    for name, shape in (("a", (4, 3, 3, 3)), ("b", (4, 4, 1, 1))):
        model.graph.initializer.append(numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name))
    onnx.save(model, tmp_path / "layers.onnx")
    inputs = [{"x": random.normal(s, s, (1, 3, 20, 30)).astype(np.float32)} for s in (1e-6, 0.5, 30, 2)]
    return tmp_path / "layers.onnx", inputs


def test_ranges_are_those_of_the_quantizers_own_calibrator(layers, tmp_path):
    network, inputs = layers

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rest = iter(inputs)

        def get_next(self):
            return next(self.rest, None)

    options = {"percentile": 99.99}
    theirs = create_calibrator(network, None, tmp_path / "a.onnx", CalibrationMethod.Percentile, extra_options=options)
    theirs.collect_data(Reader())
    save_ranges(network, inputs, tmp_path / "ranges.json")
    ours, expected = load_tensors_data(tmp_path / "ranges.json"), theirs.compute_data()
    assert set(ours.keys()) == set(expected.keys()) == {"x", "y", "r", "z"}
    for name, range_ in expected.items():
        assert ours[name].range_value == range_.range_value


def test_values_that_are_not_finite_are_refused(layers, tmp_path):
    network, inputs = layers
    inputs[2]["x"][0, 0, 5, 5] = np.nan
    with pytest.raises(SegtoolError, match="values are not finite for a calibration image: tensor"):
        save_ranges(network, inputs, tmp_path / "ranges.json")


def test_images_may_have_any_sizes_and_come_once(tiny_onnx, pictures):
    images = [pictures[0], pictures[1][:61, :83].copy()]
    once = quantize_network(onnx.load(tiny_onnx), iter(images), "cpu")
    assert once == quantize_network(onnx.load(tiny_onnx), images, "cpu")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(tiny_onnx):
    def most(images):
        script = Path(__file__).with_name("quantize_in_process.py")
        done = subprocess.run([sys.executable, script, tiny_onnx, str(images)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert most(64) <= 1.3 * most(2)


@pytest.mark.parametrize("images", [[], iter(())])
def test_without_images_it_says_so(tiny_onnx, images):
    with pytest.raises(SegtoolError, match="calibration needs images.*--calibrate SPEC"):
        quantize_network(onnx.load(tiny_onnx), images, "cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--int8"], "--int8 and --calibrate go together"),
        (["--calibrate", "synthetic"], "--int8 and --calibrate go together"),
        (["--int8", "--fp16", "--calibrate", "synthetic"], "two precisions"),
        (["--int8", "--calibrate", "camvid:/nowhere"], "/nowhere"),
    ],
)
def test_command_refuses(tmp_path, options, message):
    result = CliRunner().invoke(cli, ["export", str(tmp_path), *options])
    assert message in str(result.exception)


@pytest.mark.slow
def test_command_writes_it_and_verify_measures_it(tiny_run, tmp_path):
    out = tmp_path / "m.int8.onnx"
    options = ["--int8", "--calibrate", "synthetic:96", "--calibration-images", "8", "--out", str(out)]
    result = CliRunner().invoke(cli, ["export", str(tiny_run), *options])
    assert result.exit_code == 0, result.output
    assert "int8, CRF with" in result.output
    card = load(out).card
    assert (card.precision, METADATA_KEY) == ("int8", "segtool_card")
    result = CliRunner().invoke(cli, ["verify", str(tiny_run), str(out), "--limit", "4"])
    for record in load(out).card.parity:
        assert record.precision == "int8"
        assert 0.8 <= record.label_agreement < 1
        assert record.passed == (record.label_agreement >= TOLERANCES["int8"].agreement) == (result.exit_code == 0)
        assert record.passed or record.culprit.startswith("8 bits do not do here")
