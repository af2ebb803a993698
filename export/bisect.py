"""Where an exported file begins to differ from PyTorch: intermediate tensors of both, compared from the image on."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import ModelProto, helper
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from segtool.crf.library import library_path
from segtool.train.checkpoint import load_segmenter
from segtool.train.networks import Segmenter

# Largest difference over the largest value of a tensor that is not yet called one.
_TOLERANCE = {"float32": 1e-3, "float16": 3e-2}
_CRF_STEPS = {"spatial_filter": "spatial", "bilateral_filter": "bilateral", "mean_field_update": "update"}
_INPUT = "network input"
_QUANTISED = {
    "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul",
    "QuantizeLinear",
}  # fmt: skip
Tensors = dict[str, NDArray[Any]]


class FirstDifference(NamedTuple):
    """The first tensor outside tolerance.

    Attributes:
        node: of the file; its name says which layer it is, or which step of which iteration.
        error: largest difference, as a share of the tensor's largest value.
        cause: what is likely.
    """

    node: str
    error: float
    cause: str

    def __str__(self) -> str:
        return f"first at {self.node} (relative error {self.error:.1e}): {self.cause}"


def first_difference(run: Path, model: Path, image: NDArray[Any], precision: str, native: bool) -> FirstDifference:
    """Compares the outputs of layers and CRF steps for an image.

    Args:
        run: the checkpoint that the file was exported from.
        image: [H,W,B].
        precision: of the file's network.
        native: whether the native library runs the CRF.
    """
    proto = onnx.load(model)
    segmenter, _ = load_segmenter(run)
    iterations = sum(node.op_type == "MeanFieldUpdate" for node in proto.graph.node)
    if not iterations:
        segmenter.crf = None
    elif segmenter.crf is not None:
        segmenter.crf.iterations = iterations
    expected = torch_tensors(segmenter, image)
    outputs = _comparable(proto, expected)
    got = _onnx_tensors(proto, outputs, image, native)
    for node in outputs:
        error = _error(got[node], expected[_key(node)])
        if not error <= _TOLERANCE[precision]:  # NaN too
            bodies = _onnx_tensors(proto, {node: outputs[node]}, image, False) if native else got
            portable_is_right = native and _error(bodies[node], expected[_key(node)]) <= _TOLERANCE[precision]
            return FirstDifference(node, error, _cause(node, got[node], precision, portable_is_right))
    return FirstDifference("output", 0.0, "all layers agree, so labels differ where two classes are nearly as probable")


def quantised_nodes(model: Path) -> str:
    """Which of a file's operators compute in 8 bits, and how many there are; empty if none do."""
    kinds = Counter(node.op_type for node in onnx.load(model, load_external_data=False).graph.node)
    found = {kind: count for kind, count in sorted(kinds.items()) if kind in _QUANTISED}
    return ", ".join(f"{count} {kind}" for kind, count in found.items())


def torch_tensors(segmenter: Segmenter, image: NDArray[Any]) -> Tensors:
    """What PyTorch computes on the way, under the names that nodes of the file have without their last part.

    Layers that run more than once are left out.
    """
    found: dict[str, Tensor] = {}
    runs: Counter[str] = Counter()

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            runs[name] += 1
            if isinstance(output, Tensor):
                found[name] = output.clone()  # the next layer may work in place

        return hook

    def keep_input(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        found[_INPUT] = inputs[0].clone()

    handles = [segmenter.network.register_forward_pre_hook(keep_input)]
    for part, root in ((segmenter.network, "network"), (segmenter.context, "context")):
        for name, module in () if part is None else part.named_modules():
            if name and not any(module.children()):
                handles.append(module.register_forward_hook(keep(f"{root}/{name.replace('.', '/')}")))
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    steps = _CrfSteps()
    try:
        with torch.no_grad(), steps:
            segmenter.eval()(pixels)
    finally:
        for handle in handles:
            handle.remove()
    single = {name: value for name, value in found.items() if runs[name] <= 1}
    return {name: value.float().numpy() for name, value in (single | steps.found).items()}


class _CrfSteps(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps what the CRF's operators give, by iteration."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[str, Tensor] = {}
        self._iteration = 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.name().removeprefix("segtool::")
        if func.namespace == "segtool" and name in _CRF_STEPS:
            self.found[f"crf/iteration_{self._iteration}/{_CRF_STEPS[name]}"] = result
            self._iteration += name == "mean_field_update"
        return result


def _key(node: str) -> str:
    """The name that a node's tensor has in PyTorch."""
    return node if node.startswith("crf/") or node == _INPUT else node.rpartition("/")[0]


def _comparable(model: ModelProto, expected: Tensors) -> dict[str, str]:
    """Nodes whose tensors PyTorch has too, in the file's order, with the names of their outputs."""
    last: dict[str, tuple[str, str]] = {}
    first_layer: str | None = None
    for node in model.graph.node:
        if first_layer is None and node.name.startswith("network/") and node.op_type != "Cast":
            first_layer = node.input[0]
        key = _key(node.name)
        if key in expected:
            last.pop(key, None)  # of a layer of several nodes, the last one gives its result
            last[key] = (node.name, node.output[0])
    found = {_INPUT: first_layer} if first_layer is not None else {}
    return found | dict(last.values())


def _onnx_tensors(model: ModelProto, outputs: dict[str, str], image: NDArray[Any], native: bool) -> Tensors:
    opened = ModelProto()
    opened.CopyFrom(model)
    known = {output.name for output in opened.graph.output}
    opened.graph.output.extend(helper.make_empty_tensor_value_info(v) for v in outputs.values() if v not in known)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # What is compared is what each node says, not what a fusion of several would.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if native:
        options.register_custom_ops_library(str(library_path()))
    session = ort.InferenceSession(opened.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(list(outputs.values()), {"image": image[None]})
    return dict(zip(outputs, values, strict=True))


def _error(got: NDArray[Any], expected: NDArray[Any]) -> float:
    if got.shape != expected.shape:
        return float("inf")
    scale = float(np.abs(expected).max()) or 1.0
    return float(np.abs(got.astype(np.float32) - expected).max()) / scale


def _cause(node: str, got: NDArray[Any], precision: str, portable_is_right: bool) -> str:
    if portable_is_right:
        return "the native library's kernel; with the definition inside the file it is right"
    if node == _INPUT:
        return "the image's layout, channel order or normalisation"
    if node.startswith("crf/"):
        return "the CRF's tables or kernel widths in the file are not those of the checkpoint"
    if not np.isfinite(got.astype(np.float32)).all():
        return f"values outside the range of {precision}"
    if precision != "float32":
        return f"the precision of {precision} does not do for this layer"
    return "the weights in the file are not those of the checkpoint"
