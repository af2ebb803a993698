"""The deployed runtime: no torch, clear refusals, many threads."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from segtool.errors import SegtoolError
from segtool.runtime import load

_WITHOUT_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "lightning", "onnx", "timm", "onnxscript"}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
import numpy as np, segtool.runtime
image = np.full((40, 50, 3), 120, np.uint8)
prediction = segtool.runtime.load(sys.argv[1])(image)
assert prediction.labels.shape == (40, 50)
import segtool.demo.app
print("ran without", "torch" not in sys.modules)
"""


def test_runs_without_torch(tiny_onnx, tmp_path):
    command = [sys.executable, "-c", _WITHOUT_TORCH, str(tiny_onnx)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "ran without True", result.stderr


def test_onnx_of_another_tool(tmp_path):
    info = helper.make_tensor_value_info
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "g", [info("x", TensorProto.FLOAT, [1])], [info("y", TensorProto.FLOAT, [1])])
    path = tmp_path / "other.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    with pytest.raises(SegtoolError, match="no segtool model card"):
        load(path)


def test_not_onnx_at_all(tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"hello")
    with pytest.raises(SegtoolError, match="ONNX Runtime cannot load"):
        load(path)
    with pytest.raises(SegtoolError, match="no such model"):
        load(tmp_path / "none.onnx")
    with pytest.raises(SegtoolError, match="segtool export"):
        load(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((5, 5, 3), np.float32), ((5, 5), np.uint8), ((5, 5, 4), np.uint8), ((0, 5, 3), np.uint8)],
)
def test_bad_arrays(tiny_onnx, shape, dtype):
    with pytest.raises(SegtoolError, match=r"uint8 \[H,W,3\]"):
        load(tiny_onnx)(np.zeros(shape, dtype))


def test_calls_from_many_threads(tiny_onnx, photo):
    model = load(tiny_onnx, threads=1)
    expected = model(photo).labels
    with ThreadPoolExecutor(4) as pool:
        for labels in pool.map(lambda _: model(photo).labels, range(8)):
            np.testing.assert_array_equal(labels, expected)
