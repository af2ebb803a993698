"""The network's place in the exported graph.

What stands around the network works on images of any size, the network itself on multiples of its stride. Traced in one
piece, every size in the network would be an expression of the image's and its padding, which more than doubles the
time. So a placeholder is traced in its place, then the network alone, and the one is put where the other was.
"""

from typing import Any

import onnx_ir as ir
import torch
from onnx import defs
from onnxscript.values import Opset
from torch import Tensor, nn

from segtool.export.trace import Dims, trace
from segtool.train.networks import Segmenter
from segtool.train.networks.adapted import body_of
from segtool.train.networks.features import last_layer, with_features

_NAME, _WITH_FEATURES, _DOMAIN = "Network", "NetworkWithFeatures", "segtool.placeholder"
_ROOT = "segmenter.network."  # with which names of its parameters begin
_EXAMPLE = (12, 8)  # strides of height and width: enough for any pyramid, neither equal nor one


@torch.library.custom_op("segtool::network", mutates_args=())
def _network(x: Tensor, classes: int) -> Tensor:
    # Tracing asks for the shape below alone, and no exported file has the node: the network takes its place.
    raise NotImplementedError("the placeholder of a network is only traced")


@_network.register_fake
def _(x: Tensor, classes: int) -> Tensor:
    return x.new_empty(x.shape[0], classes, *x.shape[2:])


@torch.library.custom_op("segtool::network_with_features", mutates_args=())
def _network_with_features(x: Tensor, classes: int, channels: int, stride: int) -> tuple[Tensor, Tensor]:
    raise NotImplementedError("the placeholder of a network is only traced")


@_network_with_features.register_fake
def _(x: Tensor, classes: int, channels: int, stride: int) -> tuple[Tensor, Tensor]:
    n, _, height, width = x.shape
    return x.new_empty(n, classes, height, width), x.new_empty(n, channels, height // stride, width // stride)


class Placeholder(nn.Module):
    """From [N,B,H,W] to logits [N,classes,H,W], by one node."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        """The node."""
        logits: Tensor = _network(x, self.classes)
        return logits


class PlaceholderSegmenter(Segmenter):
    """A segmenter with a placeholder for its network.

    Args:
        segmenter: what stands around the network, and which features it wants.
        classes: C.
    """

    def __init__(self, segmenter: Segmenter, classes: int) -> None:
        super().__init__(Placeholder(classes), segmenter.contract, segmenter.crf, segmenter.context)
        self.classes = classes

    def run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """One node with two results."""
        assert self.context is not None
        card = self.context.card
        found: tuple[Tensor, Tensor] = _network_with_features(x, self.classes, card.features, card.feature_stride)
        return found


def translations() -> dict[Any, Any]:
    """How the placeholder is written."""
    for name, outputs in ((_NAME, ("logits",)), (_WITH_FEATURES, ("logits", "features"))):
        if not defs.has(name, domain=_DOMAIN):
            given, *found = (defs.OpSchema.FormalParameter(n, "tensor(float)") for n in ("x", *outputs))
            defs.register_schema(defs.OpSchema(name, _DOMAIN, 1, inputs=[given], outputs=found))
    opset = Opset(_DOMAIN, 1)
    return {
        torch.ops.segtool.network.default: lambda x, classes: opset.Network(x),
        torch.ops.segtool.network_with_features.default: lambda x, *sizes: opset.NetworkWithFeatures(x),
    }


class _Rooted(nn.Module):
    """A network under the name that it has in a deployed graph; with what a layer reads, if one is given."""

    def __init__(self, network: nn.Module, layer: nn.Module | None) -> None:
        super().__init__()
        self.segmenter = nn.ModuleDict({"network": network})
        self._layer = [layer]  # not a part of its own

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        network, layer = self.segmenter["network"], self._layer[0]
        if layer is None:
            return (network(x),)
        logits, features = with_features(network, layer, x)
        return logits, features.float()


def fill_placeholder(model: ir.Model, segmenter: Segmenter, classes: int) -> None:
    """Puts a network where the placeholder stands in a graph.

    Args:
        model: has one placeholder, whose input says whether the size is fixed.
        segmenter: whose network it is: [N,B,H,W] to [N,C,H,W], with H and W multiples of the stride, from twice on.
        classes: C.
    """
    place = next(node for node in model.graph if node.domain == _DOMAIN)
    given = place.inputs[0]
    assert given is not None
    assert given.shape is not None
    layer = last_layer(segmenter.network, classes) if place.op_type == _WITH_FEATURES else None
    fixed = [side if isinstance(side, int) else None for side in given.shape[2:]]
    traced = _traced(_Rooted(segmenter.network, layer), segmenter, fixed)
    part = traced.graph
    taken, results = part.inputs[0], list(part.outputs)
    _set_apart(part)
    model.opset_imports.update(traced.opset_imports)
    model.functions.update(traced.functions)
    for tensor in list(part.initializers.values()):
        del part.initializers[tensor.name]
        model.graph.register_initializer(tensor)
    nodes = list(part)
    part.outputs.clear()
    part.remove(nodes)
    model.graph.insert_before(place, nodes)
    ir.convenience.replace_all_uses_with(taken, given)
    for wanted, result in zip(place.outputs, results, strict=True):
        ir.convenience.replace_all_uses_with(wanted, result, replace_graph_outputs=True)
    model.graph.remove(place, safe=True)
    del model.opset_imports[_DOMAIN]


def _traced(rooted: _Rooted, segmenter: Segmenter, fixed: list[int | None]) -> ir.Model:
    _make_traceable(segmenter.network)
    stride = segmenter.stride
    example = [side or stride * n for side, n in zip(fixed, _EXAMPLE, strict=True)]
    dims: Dims = {0: torch.export.Dim("N")}
    for axis, (side, name) in enumerate(zip(fixed, ("h", "w"), strict=True), start=2):
        if side is None:
            dims[axis] = stride * torch.export.Dim(name, min=2)
    return trace(rooted, [torch.zeros(2, segmenter.contract.channels, *example)], [dims], inputs=["x"])


def _make_traceable(network: nn.Module) -> None:
    # Sizes are multiples of the stride here; the network's own check of that cannot be traced.
    network.requires_divisible_input_shape = False  # type: ignore[assignment]
    body: Any = body_of(network)
    if hasattr(body, "set_attn_implementation"):  # transformers: its fused attention cannot be exported in all models
        body.set_attn_implementation("eager")


def _set_apart(part: ir.Graph) -> None:
    """Gives values names that none of the graph around has; parameters have such names already."""
    for value in (*part.initializers.values(), *(output for node in part.all_nodes() for output in node.outputs)):
        if value.name and not value.name.startswith(_ROOT):
            value.name = f"{_ROOT}{value.name}"
