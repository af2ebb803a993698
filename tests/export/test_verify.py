"""Verification finds a file that is not the model, and says where it begins to differ."""

from importlib import metadata

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from segtool.card import METADATA_KEY, parse_card
from segtool.data import open_dataset
from segtool.export import bisect
from segtool.export.bisect import first_difference
from segtool.export.comparison import Case
from segtool.export.verify import store_parity, verify
from segtool.runtime import load


@pytest.fixture(scope="module")
def cases():
    val = open_dataset("synthetic:64", "val")
    return [Case(*val.load(i)) for i in range(4)]


def tampered(source, target, name, change):
    """A copy of a file in which a tensor, the first input of that shape of the node of that name, was changed."""
    model = onnx.load(source)
    node = next(n for n in model.graph.node if n.name == name)
    tensors = {t.name: t for t in model.graph.initializer}
    weights = next(tensors[i] for i in node.input if i in tensors)
    weights.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(weights).copy()), weights.name))
    onnx.save(model, target)
    return target


def convolutions(path):
    return [n.name for n in onnx.load(path).graph.node if n.op_type == "Conv" and n.name.startswith("network/")]


def test_sizes_batches_and_scores_are_compared(tiny_run, tiny_onnx, cases):
    for record in verify(tiny_run, tiny_onnx, cases):
        assert record.passed
        assert record.shapes == ["1x45x45", "1x64x64", "2x64x64"]
        assert record.images == 4 + 3 * 3
        assert abs(record.miou_difference) <= 1e-3
        assert record.culprit is None
    assert verify(tiny_run, tiny_onnx, [Case(cases[0].image)])[0].miou_difference is None


def test_versions_are_told_whatever_package_they_come_from(tiny_run, tiny_onnx, cases, monkeypatch):
    """segtool[gpu] brings ONNX Runtime by another name."""

    def unknown(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", unknown)
    assert verify(tiny_run, tiny_onnx, cases[:1])[0].versions["onnxruntime"] == onnxruntime.__version__


@pytest.mark.parametrize("place", [0, 7, -1])
def test_a_wrong_weight_is_found(tiny_run, tiny_onnx, tmp_path, cases, place):
    name = convolutions(tiny_onnx)[place]
    path = tampered(tiny_onnx, tmp_path / "m.onnx", name, lambda w: np.roll(w, 1) + 0.1)
    found = first_difference(tiny_run, path, cases[0].image, "float32", native=True)
    assert found.node == name
    assert found.error > 1e-3
    assert "the weights in the file are not those of the checkpoint" in str(found)


def test_a_failed_record_says_where(tiny_run, tiny_onnx, tmp_path, cases):
    name = "crf/iteration_1/update"
    path = tampered(tiny_onnx, tmp_path / "m.onnx", name, lambda w: w * 3 + 1)
    for record in verify(tiny_run, path, cases[:1]):
        assert not record.passed
        assert record.culprit.startswith(f"first at {name} (relative error ")
        assert "tables or kernel widths" in record.culprit


def test_wrong_normalisation_is_found(tiny_run, tiny_onnx, tmp_path, cases):
    model = onnx.load(tiny_onnx)
    first = next(n.name for n in model.graph.node if n.op_type == "Sub")
    path = tampered(tiny_onnx, tmp_path / "m.onnx", first, lambda w: w[::-1].copy() + 20)
    found = first_difference(tiny_run, path, cases[0].image, "float32", native=False)
    assert (found.node, found.cause) == ("network input", "the image's layout, channel order or normalisation")


def test_a_wrong_native_kernel_is_told_from_a_wrong_file(tiny_run, tiny_onnx, cases, monkeypatch):
    honest = bisect._onnx_tensors

    def broken(model, outputs, image, native):
        values = honest(model, outputs, image, native)
        name = "crf/iteration_3/bilateral"
        return values | ({name: values[name] * 1.1} if native else {})

    monkeypatch.setattr(bisect, "_onnx_tensors", broken)
    found = first_difference(tiny_run, tiny_onnx, cases[0].image, "float32", native=True)
    assert found.node == "crf/iteration_3/bilateral"
    assert found.cause.startswith("the native library's kernel")


def test_every_layer_of_a_sound_file_agrees(tiny_run, tiny_onnx, cases):
    found = first_difference(tiny_run, tiny_onnx, cases[0].image, "float32", native=True)
    assert (found.node, found.error) == ("output", 0.0)


def test_records_go_into_the_card_of_the_file(tiny_run, tiny_onnx, tmp_path, cases):
    path = tmp_path / "m.onnx"
    path.write_bytes(tiny_onnx.read_bytes())
    records = verify(tiny_run, path, cases[:1])
    store_parity(path, records)
    assert load(path).card.parity == records
    before, after = onnx.load(tiny_onnx), onnx.load(path)
    assert before.graph == after.graph
    assert list(before.functions) == list(after.functions)
    assert parse_card({p.key: p.value for p in after.metadata_props}[METADATA_KEY], "x").names[0] == "ground"


def test_a_file_that_others_quantised_is_told_as_that(tiny_run, tiny_onnx, cases, tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(tiny_onnx, tmp_path / "q.onnx")
    for record in verify(tiny_run, tmp_path / "q.onnx", cases[:1]):
        assert not record.passed
        assert record.culprit.startswith("8-bit nodes that segtool export did not write (")
        assert "DynamicQuantizeLinear): use segtool export --int8 --calibrate" in record.culprit
