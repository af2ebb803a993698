"""Triton's configurations in the guide name what exported files have."""

import re
from pathlib import Path

import onnx
import pytest

from segtool.export.tensorrt_build import prepare

GUIDE = Path(__file__).parents[2] / "docs" / "engines.md"
KINDS = {
    "TYPE_UINT8": onnx.TensorProto.UINT8,
    "TYPE_FP32": onnx.TensorProto.FLOAT,
    "TYPE_INT32": onnx.TensorProto.INT32,
}


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt"])
def test_names_types_and_ranks(tiny_onnx, backend):
    blocks = re.findall(r"```protobuf\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.S)
    (config,) = (block for block in blocks if f'backend: "{backend}"' in block)
    model = onnx.load(tiny_onnx)
    graph = (prepare(model, 0.5) if backend == "tensorrt" else model).graph
    values = {v.name: v.type.tensor_type for v in (*graph.input, *graph.output)}
    batch_axes = 0 if "max_batch_size: 0" in config else 1  # Triton adds it where it batches
    found = re.findall(r'(?:input|output) \{ name: "(\w+)" data_type: (\w+) dims: \[ (.*?) \] \}', config)
    assert {"image", "labels"} <= {name for name, *_ in found}
    for name, kind, extents in found:
        assert values[name].elem_type == KINDS[kind], name
        assert len(values[name].shape.dim) == len(extents.split(",")) + batch_axes, name
        for given, dim in zip(reversed(extents.split(",")), reversed(values[name].shape.dim), strict=False):
            assert int(given) == (dim.dim_value or -1), name
