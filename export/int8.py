"""The network in 8 bits, by explicit Q/DQ nodes that ONNX Runtime's quantizer puts in; all else stays in float32.

The quantizer sees the network alone, between normalisation and CRF: it runs what it is given, and renames as it likes.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto
from onnx.utils import Extractor
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from segtool.errors import SegtoolError
from segtool.export.calibration import Inputs, save_ranges
from segtool.export.graph import INPUT
from segtool.export.quiet import quiet
from segtool.export.save import LARGEST_FILE

Target = Literal["tensorrt", "cpu"]
NETWORK = "network/"  # with which the names of its nodes begin
_MOST_OUTPUTS = 2  # logits and features

# TensorRT takes signed activations around zero, and no quantized bias. Processors multiply unsigned with signed best.
_TARGETS: dict[Target, tuple[QuantType, dict[str, Any]]] = {
    "tensorrt": (QuantType.QInt8, {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}),
    "cpu": (QuantType.QUInt8, {}),
}


def quantize_network(model: ModelProto, images: Iterable[NDArray[Any]], target: Target) -> ModelProto:
    """The model with its network in 8 bits.

    Args:
        model: as `segtool export` writes it, float32, any size.
        images: [H,W,B] of what it will see, of any sizes; their activations set the scales. Iterated twice; what
            can be iterated once only is kept in memory.
        target: what the file is for.

    Raises:
        SegtoolError: no image, or the model does not fit into one file.
    """
    if model.ByteSize() > LARGEST_FILE:
        raise SegtoolError("models of more than 1.8 GB cannot be quantized", mend="segtool export --fp16")
    bounds = _bounds(model.graph)
    with tempfile.TemporaryDirectory() as name, quiet():
        folder = Path(name)
        network = _part(model, bounds.given, bounds.wanted, folder / "network.onnx")
        front = _part(model, INPUT, [bounds.given], folder / "front.onnx")
        quant_pre_process(network, folder / "folded.onnx", skip_symbolic_shape=True)  # batch norm into convolutions
        save_ranges(folder / "folded.onnx", _Inputs(front, bounds.given, images), folder / "ranges.json")
        activations, options = _TARGETS[target]
        quantize_static(
            folder / "folded.onnx",
            folder / "quantized.onnx",
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=activations,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            calibration_cache_path=folder / "ranges.json",
            extra_options=options,
        )
        quantized = onnx.load(folder / "quantized.onnx")
    return _joined(model, quantized, bounds)


class _Bounds(NamedTuple):
    """The value that the network takes, and those that it gives: logits, and features where the contextual CRF reads
    them."""

    given: str
    wanted: tuple[str, ...]


def _bounds(graph: GraphProto) -> _Bounds:
    inside = [node for node in graph.node if node.name.startswith(NETWORK)]
    made = {value for node in inside for value in node.output}
    known = made | {tensor.name for tensor in graph.initializer} | {""}
    given = {value for node in inside for value in node.input} - known
    read = {value for node in graph.node if not node.name.startswith(NETWORK) for value in node.input}
    wanted = made & (read | {output.name for output in graph.output})
    if len(given) != 1 or not 1 <= len(wanted) <= _MOST_OUTPUTS:
        what = f"the network has {len(given)} inputs and {len(wanted)} outputs, not one and one or two"
        raise SegtoolError(what, mend="use --fp16")
    return _Bounds(given.pop(), tuple(sorted(wanted)))


def _part(model: ModelProto, given: str, wanted: Sequence[str], path: Path) -> Path:
    part = Extractor(model).extract_model([given], [*wanted])
    del part.functions[:]  # of the CRF, which is in neither part
    onnx.save(part, path)
    return path


class _Inputs:
    """What the network is given for images."""

    def __init__(self, front: Path, name: str, images: Iterable[NDArray[Any]]) -> None:
        self._session = ort.InferenceSession(front, providers=["CPUExecutionProvider"])
        self._name, self._images = name, list(images) if isinstance(images, Iterator) else images

    def __iter__(self) -> Iterator[Inputs]:
        for image in self._images:
            yield {self._name: self._session.run([self._name], {INPUT: image[None]})[0]}


def _joined(model: ModelProto, quantized: ModelProto, bounds: _Bounds) -> ModelProto:
    """The model with the quantized network where the network was."""
    joined = ModelProto()
    joined.CopyFrom(model)
    graph = joined.graph
    nodes = list(graph.node)
    # The network's last node: all that it needs comes before it, and all that needs it after.
    last = max(i for i, node in enumerate(nodes) if {*bounds.wanted} & {*node.output})
    _rename(quantized.graph, bounds)
    outside = [[n for n in part if not n.name.startswith(NETWORK)] for part in (nodes[:last], nodes[last:])]
    del graph.node[:], graph.value_info[:]
    graph.node.extend([*outside[0], *quantized.graph.node, *outside[1]])
    read = {value for node in graph.node for value in node.input}
    kept = [t for t in (*graph.initializer, *quantized.graph.initializer) if t.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return joined


def _rename(graph: GraphProto, bounds: _Bounds) -> None:
    """Puts all names under the network's, where no other part of the model has any."""

    def renamed(name: str) -> str:
        return name if name in ("", bounds.given, *bounds.wanted) else f"{NETWORK}{name.removeprefix(NETWORK)}:8"

    for tensor in graph.initializer:
        tensor.name = renamed(tensor.name)
    seen: set[str] = set()
    for node in graph.node:
        node.input[:] = map(renamed, node.input)
        node.output[:] = map(renamed, node.output)
        name = f"{NETWORK}{(node.name or node.op_type).removeprefix(NETWORK)}"
        node.name = name if name not in seen else f"{name}.{len(seen)}"
        seen.add(node.name)
