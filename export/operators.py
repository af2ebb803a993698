"""The CRF's operators in ONNX: their schemas, and how torch's exporter writes them.

They are nodes in the domain `segtool`. The same file also defines each as a model-local function of standard operators
(`bodies`), so it runs on any ONNX runtime; where the native library is registered, its kernels take the nodes instead.
"""

from typing import Any

import torch
from onnx import defs
from onnxscript.values import Opset

from segtool.crf.tensorrt_operators import NODE_ATTRIBUTES

DOMAIN, VERSION = "segtool", 1


def _schema(name: str, inputs: dict[str, str], outputs: dict[str, str], attributes: dict[str, Any]) -> defs.OpSchema:
    parameter = defs.OpSchema.FormalParameter
    kinds = defs.OpSchema.AttrType
    return defs.OpSchema(
        name,
        DOMAIN,
        VERSION,
        inputs=[parameter(n, f"tensor({t})") for n, t in inputs.items()],
        outputs=[parameter(n, f"tensor({t})") for n, t in outputs.items()],
        attributes=[
            defs.OpSchema.Attribute(
                n,
                kinds.FLOAT if t is float else kinds.INT if t is int else kinds.STRING,
                required=t is not str,
            )
            for n, t in attributes.items()
        ],
    )


_PLUGIN_ATTRIBUTES = dict.fromkeys(NODE_ATTRIBUTES, str)
LATTICE = {"vertex": "int32", "weight": "float", "neighbor": "int32"}
UPDATE = ("unary", "spatial", "bilateral", "spatial_table", "bilateral_table")
_SCHEMAS = (
    _schema(
        "BilateralLattice",
        {"image": "float"},
        LATTICE,
        {"spatial_sigma": float, "color_sigma": float, **_PLUGIN_ATTRIBUTES},
    ),
    _schema(
        "BilateralFilter",
        {"values": "float", **LATTICE},
        {"filtered": "float"},
        {"reverse": int, **_PLUGIN_ATTRIBUTES},
    ),
    _schema("SpatialFilter", {"values": "float"}, {"filtered": "float"}, {"sigma": float}),
    _schema("MeanFieldUpdate", dict.fromkeys(UPDATE, "float"), {"q": "float"}, {"normalize": int}),
)


def translation_table() -> dict[Any, Any]:
    """What `torch.onnx.export(custom_translation_table=...)` needs for the torch operators."""
    for schema in _SCHEMAS:
        if not defs.has(schema.name, domain=DOMAIN):
            defs.register_schema(schema)
    opset = Opset(DOMAIN, VERSION)

    def lattice(image: Any, spatial_sigma: float, color_sigma: float) -> Any:
        return opset.BilateralLattice(image, spatial_sigma=spatial_sigma, color_sigma=color_sigma, **NODE_ATTRIBUTES)

    def filter_(values: Any, vertex: Any, weight: Any, neighbor: Any, reverse: bool = False) -> Any:
        return opset.BilateralFilter(values, vertex, weight, neighbor, reverse=int(reverse), **NODE_ATTRIBUTES)

    def spatial(values: Any, sigma: float) -> Any:
        return opset.SpatialFilter(values, sigma=sigma)

    def update(unary: Any, spatial: Any, bilateral: Any, a: Any, b: Any, normalize: bool) -> Any:
        return opset.MeanFieldUpdate(unary, spatial, bilateral, a, b, normalize=int(normalize))

    ops = torch.ops.segtool
    return {
        ops.bilateral_lattice.default: lattice,
        ops.bilateral_filter.default: filter_,
        ops.spatial_filter.default: spatial,
        ops.mean_field_update.default: update,
    }
