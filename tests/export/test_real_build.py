"""Files in the real parser and builder: TensorRT-RTX, which needs no GPU until an engine is run."""

import onnx
import pytest

from segtool.engine import read_record
from segtool.export.onnx_export import export_onnx
from segtool.runtime import load

from .real_build import built, handed_to_plugin, refused


def check(model, folder, size=(-1, -1)):
    network = built(model, folder)
    assert network["input"] == ["image", "UINT8", [-1, *size, 3]]
    outputs = dict(network["outputs"])
    assert outputs.pop("probabilities", None) in (None, ["FLOAT", [-1, 5, *size]])
    assert outputs == {
        "labels": ["UINT8", [-1, *size]],
        "confidence": ["FLOAT", [-1, *size]],
        "unary_labels": ["UINT8", [-1, *size]],
        "lattice_status": ["INT32", [2]],
    }
    done, total = network["last step"]
    assert done == total
    assert network["without torch"], "an engine is built where it runs, and PyTorch need not be there"
    engine = folder / "model.engine"
    assert engine.stat().st_size > 100_000
    assert read_record(engine).source == model.name


def test_engine_for_any_size(tiny_onnx, tmp_path):
    check(tiny_onnx, tmp_path)


@pytest.mark.slow
def test_engine_in_half_precision_and_for_one_size(tiny_run, tmp_path):
    export_onnx(tiny_run, tmp_path / "m.onnx", fp16=True, size=(96, 160))
    check(tmp_path / "m.onnx", tmp_path, size=(96, 160))


def test_what_the_parser_cannot_read_is_told_in_one_line(tiny_onnx, tmp_path):
    model = onnx.load(tiny_onnx)
    resize = next(node for node in model.graph.node if node.op_type == "Resize")
    next(attribute for attribute in resize.attribute if attribute.name == "antialias").i = 1
    onnx.save(model, tmp_path / "m.onnx")
    said = refused(tmp_path / "m.onnx", tmp_path)
    assert "TensorRT's parser refuses the file" in said
    assert f"{resize.name} (Resize): " in said
    assert "Antialiasing is not supported" in said
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_the_parser_takes_nodes_to_their_plugins(tiny_onnx):
    """By namespace and version, with their attributes."""
    crf = load(tiny_onnx).card.crf
    expected = {
        "BilateralLattice": (
            "crf/lattice",
            {"spatial_sigma": crf.bilateral_alpha, "color_sigma": crf.bilateral_beta, "vertices_per_pixel": 0.75},
        ),
        "BilateralFilter": ("crf/iteration_1/bilateral", {"reverse": 0}),
        "SpatialFilter": ("crf/iteration_1/spatial", {"sigma": crf.spatial_gamma}),
        "MeanFieldUpdate": ("crf/iteration_1/update", {"normalize": 1}),
    }
    for kind, (name, fields) in expected.items():
        handed = handed_to_plugin(tiny_onnx, kind)
        assert handed["name"] == name
        assert handed["fields"] == pytest.approx(fields)
        assert {field: value for field, (_, value) in handed["given"].items()} == pytest.approx(fields)
        types = {field: "INT32" if isinstance(value, int) else "FLOAT32" for field, value in fields.items()}
        assert {field: given for field, (given, _) in handed["given"].items()} == types
