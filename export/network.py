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
from segtool.train.networks.adapted import body_of

_NAME, _DOMAIN = "Network", "segtool.placeholder"
_ROOT = "segmenter.network."  # with which names of its parameters begin
_EXAMPLE = (12, 8)  # strides of height and width: enough for any pyramid, neither equal nor one


@torch.library.custom_op("segtool::network", mutates_args=())
def _network(x: Tensor, classes: int) -> Tensor:
    # Tracing asks for the shape below alone, and no exported file has the node: the network takes its place.
    raise NotImplementedError("the placeholder of a network is only traced")


@_network.register_fake
def _(x: Tensor, classes: int) -> Tensor:
    return x.new_empty(x.shape[0], classes, *x.shape[2:])


class Placeholder(nn.Module):
    """From [N,3,H,W] to logits [N,classes,H,W], by one node."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        """The node."""
        logits: Tensor = _network(x, self.classes)
        return logits


def translations() -> dict[Any, Any]:
    """How the placeholder is written."""
    if not defs.has(_NAME, domain=_DOMAIN):
        tensor = defs.OpSchema.FormalParameter("x", "tensor(float)")
        defs.register_schema(defs.OpSchema(_NAME, _DOMAIN, 1, inputs=[tensor], outputs=[tensor]))
    return {torch.ops.segtool.network.default: lambda x, classes: Opset(_DOMAIN, 1).Network(x)}


class _Rooted(nn.Module):
    """A network under the name that it has in a deployed graph."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.segmenter = nn.ModuleDict({"network": network})

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.segmenter["network"](x)
        return logits


def fill_placeholder(model: ir.Model, network: nn.Module, stride: int) -> None:
    """Puts a network where the placeholder stands in a graph.

    Args:
        model: has one placeholder, whose input says whether the size is fixed.
        network: [N,3,H,W] to [N,C,H,W].
        stride: H and W are multiples of it, from twice on.
    """
    place = next(node for node in model.graph if node.domain == _DOMAIN)
    given, wanted = place.inputs[0], place.outputs[0]
    assert given is not None
    assert given.shape is not None
    traced = _traced(network, stride, [side if isinstance(side, int) else None for side in given.shape[2:]])
    part = traced.graph
    taken, result = part.inputs[0], part.outputs[0]
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
    ir.convenience.replace_all_uses_with(wanted, result, replace_graph_outputs=True)
    model.graph.remove(place, safe=True)
    del model.opset_imports[_DOMAIN]


def _traced(network: nn.Module, stride: int, fixed: list[int | None]) -> ir.Model:
    _make_traceable(network)
    example = [side or stride * n for side, n in zip(fixed, _EXAMPLE, strict=True)]
    dims: Dims = {0: torch.export.Dim("N")}
    for axis, (side, name) in enumerate(zip(fixed, ("h", "w"), strict=True), start=2):
        if side is None:
            dims[axis] = stride * torch.export.Dim(name, min=2)
    return trace(_Rooted(network), [torch.zeros(2, 3, *example)], [dims], inputs=["x"])


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
