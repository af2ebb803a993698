"""Portable definitions of the CRF's operators: ONNX functions of standard operators."""

from functools import lru_cache

import onnx
import torch
from onnx import FunctionProto, helper, parser
from torch import Tensor, nn

from segtool.card import CrfCard
from segtool.crf import plain
from segtool.crf.geometry import key_packing
from segtool.crf.tensorrt_operators import NODE_ATTRIBUTES
from segtool.errors import SegtoolError
from segtool.export.names import name_body
from segtool.export.operators import DOMAIN, LATTICE, UPDATE
from segtool.export.tidy import tidy
from segtool.export.trace import OPSET, trace

# The largest image side for which a portable body is made, and the least that is worth making one for.
_LARGEST_SIDE, _SMALLEST_SIDE = 16384, 1024


def function_bodies(crf: CrfCard) -> list[FunctionProto]:
    """Portable definitions of the operators, with the CRF's kernel widths and number of classes baked in.

    Raises:
        SegtoolError: the widths are so small that no useful image size fits the packed keys.
    """
    return list(_bodies(crf.spatial_gamma, crf.bilateral_alpha, crf.bilateral_beta, len(crf.unary_scale)))


# Tracing takes seconds, and one process often exports a model several times, such as in other precisions.
@lru_cache(maxsize=16)
def _bodies(gamma: float, alpha: float, beta: float, classes: int) -> tuple[FunctionProto, ...]:
    bodies = (_lattice_body(alpha, beta), _filter_body(), _spatial_body(gamma, classes), _update_body())
    for body in bodies:
        name_body(body)
    return bodies


def portable_side(spatial_sigma: float, color_sigma: float, batch: int = 64) -> int:
    """The largest height or width (a power of two, up to 16384) for which the lattice body is exact."""
    side = _LARGEST_SIDE
    while side >= _SMALLEST_SIDE:
        if key_packing(spatial_sigma, color_sigma, side).max_batch >= batch:
            return side
        side //= 2
    raise SegtoolError(
        "the bilateral kernel is too narrow for a portable ONNX definition",
        where=f"alpha={spatial_sigma}, beta={color_sigma}",
        mend="train with wider kernels",
    )


class _PortableLattice(nn.Module):
    def __init__(self, spatial_sigma: float, color_sigma: float) -> None:
        super().__init__()
        self.sigmas = (spatial_sigma, color_sigma)
        self.side = portable_side(*self.sigmas)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return plain.bilateral_lattice(image, *self.sigmas, side=self.side)


def _lattice_body(spatial_sigma: float, color_sigma: float) -> FunctionProto:
    """The plain torch lattice, exported; the body cannot drift away from the tested code."""
    module = _PortableLattice(spatial_sigma, color_sigma)
    attributes = ["spatial_sigma", "color_sigma", *NODE_ATTRIBUTES]
    return _exported("BilateralLattice", module, "image", 3, list(LATTICE), attributes)


class _PortableSpatialFilter(nn.Module):
    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, values: Tensor) -> Tensor:
        return plain.spatial_filter(values, self.sigma)


def _spatial_body(sigma: float, classes: int) -> FunctionProto:
    """The plain torch kernel, exported: two convolutions."""
    return _exported("SpatialFilter", _PortableSpatialFilter(sigma), "values", classes, ["filtered"], ["sigma"])


def _exported(
    name: str, module: nn.Module, argument: str, channels: int, outputs: list[str], attributes: list[str]
) -> FunctionProto:
    """A module from [N,channels,H,W] as a function of standard operators."""
    dims = {0: torch.export.Dim("n"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
    model = trace(module, [torch.zeros(2, channels, 12, 10)], [dims], inputs=[argument], outputs=outputs)
    graph = tidy(model).graph
    constants = [
        helper.make_node("Constant", [], [tensor.name], value=_unnamed(tensor)) for tensor in graph.initializer
    ]
    nodes = [*constants, *graph.node]
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_function(DOMAIN, name, [argument], outputs, nodes, opsets, attributes=attributes)


def _update_body() -> FunctionProto:
    """Both tables in one 1x1 convolution, then softmax if `normalize`; see `plain`."""
    text = f"""
    <domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>
    MeanFieldUpdate <normalize> ({", ".join(UPDATE)}) => (q)
    {{
        axis = Constant <value = int64[1] {{1}}> ()
        inner = Constant <value = int64[2] {{2, 3}}> ()
        messages = Concat <axis = 1> (spatial, bilateral)
        tables = Concat <axis = 0> (spatial_table, bilateral_table)
        columns = Transpose <perm = [1, 0]> (tables)
        kernel = Unsqueeze (columns, inner)
        change = Conv (messages, kernel)
        z = Add (unary, change)
        flag = Constant <value_int: int = @normalize> ()
        wanted = Cast <to = 9> (flag)
        q = If (wanted) <
            then_branch = softmax () => (float[n, c, h, w] p) {{
                most = ReduceMax (z, axis)
                below = Sub (z, most)
                e = Exp (below)
                sum = ReduceSum (e, axis)
                p = Div (e, sum)
            }},
            else_branch = logits () => (float[n, c, h, w] same) {{ same = Identity (z) }}
        >
    }}
    """
    return parser.parse_function(text)


def _unnamed(tensor: onnx.TensorProto) -> onnx.TensorProto:
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.name = ""
    return copy


def _filter_body() -> FunctionProto:
    """Splat (ScatterElements add), six blurs (Gather), slice (Gather), on pixel-major values.

    ScatterND would be the natural splat, but ONNX Runtime's CPU provider runs its additions in parallel
    and loses some where indices repeat. An exported model only infers, so the body blurs forward;
    `reverse` is accepted and must be 0.
    """
    text = f"""
    <domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>
    BilateralFilter <reverse, plugin_namespace, plugin_version> (values, vertex, weight, neighbor) => (filtered)
    {{
        zero = Constant <value = int64[1] {{0}}> ()
        one = Constant <value = int64[1] {{1}}> ()
        last = Constant <value = int64[1] {{-1}}> ()
        half = Constant <value = float {{0.5}}> ()
        pixel_major = Transpose <perm = [0, 2, 3, 1]> (values)
        pixel_shape = Shape (pixel_major)
        channels = Shape <start = 1, end = 2> (values)
        flat = Concat <axis = 0> (last, channels)
        pixels = Reshape (pixel_major, flat)
        pixels_shape = Shape (pixels)
        vertices = Shape <start = 2, end = 3> (neighbor)
        rows = Add (vertices, one)
        lattice_shape = Concat <axis = 0> (rows, channels)
        none_shape = Concat <axis = 0> (one, channels)
        none = ConstantOfShape <value = float[1] {{0.0}}> (none_shape)
        empty = ConstantOfShape <value = float[1] {{0.0}}> (lattice_shape)
        {_splat()}
        {_blurs()}
        {_slice()}
        restored = Reshape (total, pixel_shape)
        filtered = Transpose <perm = [0, 3, 1, 2]> (restored)
    }}
    """
    return parser.parse_function(text)


def _splat() -> str:
    lines = []
    source = "empty"
    for k in range(6):
        lines.append(f"""
        corner_{k} = Constant <value = int64 {{{k}}}> ()
        vertex_{k} = Gather <axis = 1> (vertex, corner_{k})
        vertex64_{k} = Cast <to = 7> (vertex_{k})
        index_{k} = Unsqueeze (vertex64_{k}, one)
        spread_index_{k} = Expand (index_{k}, pixels_shape)
        weight1_{k} = Gather <axis = 1> (weight, corner_{k})
        weight_{k} = Unsqueeze (weight1_{k}, one)
        spread_{k} = Mul (pixels, weight_{k})
        splat_{k} = ScatterElements <axis = 0, reduction = "add"> ({source}, spread_index_{k}, spread_{k})""")
        source = f"splat_{k}"
    return "\n".join(lines) + f"\n        lattice_0 = Identity ({source})"


def _blurs() -> str:
    lines = []
    for axis in range(6):
        lines.append(f"""
        pair_{axis} = Gather <axis = 0> (neighbor, corner_{axis})
        before_{axis} = Gather <axis = 0> (pair_{axis}, corner_0)
        after_{axis} = Gather <axis = 0> (pair_{axis}, corner_1)
        left_{axis} = Gather <axis = 0> (lattice_{axis}, before_{axis})
        right_{axis} = Gather <axis = 0> (lattice_{axis}, after_{axis})
        both_{axis} = Add (left_{axis}, right_{axis})
        mean_{axis} = Mul (both_{axis}, half)
        own_{axis} = Slice (lattice_{axis}, zero, vertices, zero)
        blurred_{axis} = Add (own_{axis}, mean_{axis})
        lattice_{axis + 1} = Concat <axis = 0> (blurred_{axis}, none)""")
    return "\n".join(lines)


def _slice() -> str:
    lines = []
    for k in range(6):
        lines.append(f"""
        taken_{k} = Gather <axis = 0> (lattice_6, vertex_{k})
        part_{k} = Mul (taken_{k}, weight_{k})""")
    parts = ", ".join(f"part_{k}" for k in range(6))
    return "\n".join(lines) + f"\n        total = Sum ({parts})"
