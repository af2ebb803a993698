"""The CRF's operators as TensorRT plugins, on the CUDA entries of the native library.

TensorRT allocates before it runs, so the lattice has a fixed capacity: see `lattice_capacity`. An image with more
vertices gives a status of `OVERFLOW` and NaN for every confidence, never a mask that only looks right.

The classes are made for a module (`tensorrt`, `tensorrt_lean`), since each has base classes of its own. Calls go to
TensorRT's stream, without allocation or synchronisation, so an engine can be captured in a CUDA graph.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from segtool.bilateral.geometry import CORNERS
from segtool.bilateral.library import cuda_call

NAMESPACE, VERSION = "segtool", "1"
OVERFLOW, BAD_LEVEL = 1, 2  # bits of status[1]
VERTICES_PER_PIXEL = 0.5  # photographs have a few per cent; six is the most there can be
SMALLEST_CAPACITY = 1 << 14  # vertices of an image; small images have more of them a pixel

Shape = tuple[int, ...]
_registered: dict[str, list[Any]] = {}  # the registry of TensorRT does not keep creators alive


class Field(NamedTuple):
    """An attribute of a node."""

    name: str
    dtype: type[np.generic]
    default: float | int


class Operator(NamedTuple):
    """What TensorRT must know of one operator.

    Attributes:
        name: of the node.
        fields: its attributes.
        inputs, outputs: their data types, as names of `tensorrt.DataType`.
        shapes: the shapes of the outputs, from those of the inputs; works on numbers and, through `Extents`, on
            TensorRT's symbolic extents.
        workspace: bytes, from the shapes of inputs and outputs and the fields.
        enqueue: starts it, from shapes, fields, device addresses of inputs, outputs and workspace, and the stream.
    """

    name: str
    fields: tuple[Field, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Callable[..., list[list[Any]]]
    workspace: Callable[[list[Shape], list[Shape], dict[str, Any]], int]
    enqueue: Callable[[list[Shape], list[Shape], dict[str, Any], Sequence[int], Sequence[int], int, int], None]


def lattice_capacity(pixels: Any, images: Any, vertices_per_pixel: float, extents: Any = None) -> Any:
    """The most vertices that a lattice may have: `vertices_per_pixel`, at least 16,384 an image, at most six a pixel.

    Args:
        pixels: of all images of the batch.
        extents: arithmetic on what TensorRT calls dimensions; plain integers when not given.
    """
    e = extents or Extents()
    share = e.divided_up(e.times(pixels, round(1000 * vertices_per_pixel)), 1000)
    return e.least(e.times(pixels, CORNERS), e.most(share, e.times(images, SMALLEST_CAPACITY)))


class Extents:
    """Arithmetic on integers, with the operations that TensorRT has for dimensions."""

    def times(self, a: Any, b: Any) -> Any:
        return a * b

    def divided_up(self, a: Any, b: Any) -> Any:
        return -(-a // b)

    def least(self, a: Any, b: Any) -> Any:
        return min(a, b)

    def most(self, a: Any, b: Any) -> Any:
        return max(a, b)


class _SymbolicExtents(Extents):
    """The same on TensorRT's expressions."""

    def __init__(self, trt: Any, builder: Any) -> None:
        self._operations, self._builder = trt.DimensionOperation, builder

    def _apply(self, operation: Any, a: Any, b: Any) -> Any:
        known = [self._builder.constant(v) if isinstance(v, int) else v for v in (a, b)]
        return self._builder.operation(operation, *known)

    def times(self, a: Any, b: Any) -> Any:
        return self._apply(self._operations.PROD, a, b)

    def divided_up(self, a: Any, b: Any) -> Any:
        return self._apply(self._operations.CEIL_DIV, a, b)

    def least(self, a: Any, b: Any) -> Any:
        return self._apply(self._operations.MIN, a, b)

    def most(self, a: Any, b: Any) -> Any:
        return self._apply(self._operations.MAX, a, b)


def _lattice_shapes(e: Extents, fields: dict[str, Any], image: Sequence[Any]) -> list[list[Any]]:
    n, _, height, width = image
    pixels = e.times(n, e.times(height, width))
    capacity = lattice_capacity(pixels, n, fields["vertices_per_pixel"], e)
    return [[pixels, CORNERS], [pixels, CORNERS], [CORNERS, 2, capacity], [2]]


def _lattice_workspace(inputs: list[Shape], outputs: list[Shape], fields: dict[str, Any]) -> int:
    n, _, height, width = inputs[0]
    return cuda_call("segtool_cuda_lattice_workspace", n, height, width, outputs[2][2])


def _lattice_enqueue(
    inputs: list[Shape],
    outputs: list[Shape],
    fields: dict[str, Any],
    given: Sequence[int],
    wanted: Sequence[int],
    workspace: int,
    stream: int,
) -> None:
    (n, _, height, width), capacity = inputs[0], outputs[2][2]
    vertex, weight, neighbor, status = wanted
    arguments = (given[0], n, height, width, fields["spatial_sigma"], fields["color_sigma"], capacity)
    cuda_call("segtool_cuda_lattice_insert", *arguments, vertex, weight, status, workspace, stream)
    cuda_call("segtool_cuda_lattice_link", *arguments, capacity, vertex, weight, neighbor, status, workspace, stream)


def _first_shape(e: Extents, fields: dict[str, Any], *inputs: Sequence[Any]) -> list[list[Any]]:
    return [list(inputs[0])]


def _filter_workspace(inputs: list[Shape], outputs: list[Shape], fields: dict[str, Any]) -> int:
    return cuda_call("segtool_cuda_filter_workspace", inputs[0][1], inputs[3][2], 0)


def _filter_enqueue(
    inputs: list[Shape],
    outputs: list[Shape],
    fields: dict[str, Any],
    given: Sequence[int],
    wanted: Sequence[int],
    workspace: int,
    stream: int,
) -> None:
    (n, channels, height, width), capacity = inputs[0], inputs[3][2]
    flags = (fields["reverse"], 0, 0)  # channels first, sums in any order
    cuda_call(
        "segtool_cuda_filter", *given, n, channels, height * width, capacity, *flags, wanted[0], workspace, stream
    )


def _spatial_planes(shape: Shape) -> Shape:
    n, channels, height, width = shape
    return (n * channels, height, width, 1)


def _spatial_workspace(inputs: list[Shape], outputs: list[Shape], fields: dict[str, Any]) -> int:
    return cuda_call("segtool_cuda_spatial_workspace", *_spatial_planes(inputs[0]), fields["sigma"])


def _spatial_enqueue(
    inputs: list[Shape],
    outputs: list[Shape],
    fields: dict[str, Any],
    given: Sequence[int],
    wanted: Sequence[int],
    workspace: int,
    stream: int,
) -> None:
    planes = _spatial_planes(inputs[0])
    cuda_call("segtool_cuda_spatial_filter", given[0], *planes, fields["sigma"], wanted[0], workspace, stream)


def _update_enqueue(
    inputs: list[Shape],
    outputs: list[Shape],
    fields: dict[str, Any],
    given: Sequence[int],
    wanted: Sequence[int],
    workspace: int,
    stream: int,
) -> None:
    n, channels, height, width = inputs[0]
    flags = (fields["normalize"], 0)
    cuda_call("segtool_cuda_mean_field_update", *given, n, channels, height * width, *flags, wanted[0], stream)


_FLOAT, _INT = np.float32, np.int32
OPERATORS = (
    Operator(
        "BilateralLattice",
        (
            Field("spatial_sigma", _FLOAT, 0.0),
            Field("color_sigma", _FLOAT, 0.0),
            Field("vertices_per_pixel", _FLOAT, VERTICES_PER_PIXEL),
        ),
        ("FLOAT",),
        ("INT32", "FLOAT", "INT32", "INT32"),
        _lattice_shapes,
        _lattice_workspace,
        _lattice_enqueue,
    ),
    Operator(
        "BilateralFilter",
        (Field("reverse", _INT, 0),),
        ("FLOAT", "INT32", "FLOAT", "INT32"),
        ("FLOAT",),
        _first_shape,
        _filter_workspace,
        _filter_enqueue,
    ),
    Operator(
        "SpatialFilter", (Field("sigma", _FLOAT, 0.0),), ("FLOAT",), ("FLOAT",), _first_shape, _spatial_workspace,
        _spatial_enqueue,
    ),
    Operator(
        "MeanFieldUpdate", (Field("normalize", _INT, 1),), ("FLOAT",) * 5, ("FLOAT",), _first_shape, lambda *_: 0,
        _update_enqueue,
    ),
)  # fmt: skip


def register(trt: Any) -> list[Any]:
    """Registers the four creators in TensorRT's registry, once.

    Args:
        trt: the module `tensorrt`, or `tensorrt_lean`.

    Returns:
        The creators.
    """
    if trt.__name__ not in _registered:
        creators = [creator_class(trt, operator)() for operator in OPERATORS]
        registry = trt.get_plugin_registry()
        for creator in creators:
            registry.register_creator(creator, NAMESPACE)
        _registered[trt.__name__] = creators
    return _registered[trt.__name__]


def plugin_class(trt: Any, operator: Operator) -> type:
    """The plugin of an operator: subclass of the module's IPluginV3 and its three capabilities."""

    class Plugin(trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):  # type: ignore[misc, name-defined]
        """See `Operator`."""

        def __init__(self, fields: dict[str, Any]) -> None:
            for base in (trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):
                base.__init__(self)
            self.plugin_name, self.plugin_version, self.plugin_namespace = operator.name, VERSION, NAMESPACE
            self.num_outputs = len(operator.outputs)
            # Attributes decide nothing about speed but what shapes already say.
            self.timing_cache_id = "1"
            self.fields = fields
            self._serialized: list[Any] = []

        def get_capability_interface(self, type: Any) -> Any:
            return self

        def clone(self) -> Any:
            return Plugin(dict(self.fields))

        def get_output_data_types(self, input_types: Sequence[Any]) -> list[Any]:
            return [getattr(trt.DataType, name) for name in operator.outputs]

        def get_output_shapes(self, inputs: Sequence[Any], shape_inputs: Sequence[Any], exprBuilder: Any) -> list[Any]:
            extents = _SymbolicExtents(trt, exprBuilder)
            found = operator.shapes(extents, self.fields, *([shape[i] for i in range(len(shape))] for shape in inputs))
            return [trt.DimsExprs([_expression(v, exprBuilder) for v in shape]) for shape in found]

        def supports_format_combination(self, pos: int, in_out: Sequence[Any], num_inputs: int) -> bool:
            wanted = (operator.inputs + operator.outputs)[pos]
            desc = in_out[pos].desc
            return desc.type == getattr(trt.DataType, wanted) and desc.format == trt.TensorFormat.LINEAR

        def configure_plugin(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
            pass

        def get_workspace_size(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
            sizes = [[tuple(d.max) for d in descs] for descs in (inputs, outputs)]
            return operator.workspace(sizes[0], sizes[1], self.fields)

        def get_valid_tactics(self) -> list[int]:
            return []

        def set_tactic(self, tactic: int) -> None:
            pass

        def on_shape_change(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
            pass

        def attach_to_context(self, resource_context: Any) -> Any:
            return self.clone()

        def enqueue(
            self,
            input_desc: Sequence[Any],
            output_desc: Sequence[Any],
            inputs: Sequence[int],
            outputs: Sequence[int],
            workspace: int,
            stream: int,
        ) -> None:
            shapes = [[tuple(d.dims) for d in descs] for descs in (input_desc, output_desc)]
            operator.enqueue(shapes[0], shapes[1], self.fields, inputs, outputs, workspace, stream)

        def get_fields_to_serialize(self) -> Any:
            # TensorRT reads the buffers later: they must outlive this call.
            self._serialized = [np.array([self.fields[f.name]], f.dtype) for f in operator.fields]
            pairs = zip(operator.fields, self._serialized, strict=True)
            return trt.PluginFieldCollection([trt.PluginField(f.name, data, _kind(trt, f)) for f, data in pairs])

    Plugin.__name__ = Plugin.__qualname__ = f"{operator.name}Plugin"
    return Plugin


def creator_class(trt: Any, operator: Operator) -> type:
    """The creator of an operator's plugins."""
    make = plugin_class(trt, operator)

    class Creator(trt.IPluginCreatorV3One):  # type: ignore[misc, name-defined]
        """Makes plugins from a node's attributes, or from what an engine kept of them."""

        def __init__(self) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name, self.plugin_version, self.plugin_namespace = operator.name, VERSION, NAMESPACE
            self._empty = [np.zeros(1, f.dtype) for f in operator.fields]
            pairs = zip(operator.fields, self._empty, strict=True)
            self.field_names = trt.PluginFieldCollection(
                [trt.PluginField(f.name, data, _kind(trt, f)) for f, data in pairs]
            )

        def create_plugin(self, name: str, field_collection: Any, phase: Any) -> Any:
            given = {field.name: field.data for field in field_collection}
            fields = {f.name: _value(given.get(f.name), f) for f in operator.fields}
            return make(fields)

    Creator.__name__ = Creator.__qualname__ = f"{operator.name}Creator"
    return Creator


def _value(data: Any, field: Field) -> float | int:
    """The attribute in a buffer; parsers give integers of 64 bits where an engine keeps 32."""
    if data is None or len(data) == 0:
        return field.default
    value = np.asarray(data).ravel()[0]
    return float(value) if field.dtype is _FLOAT else int(value)


def _kind(trt: Any, field: Field) -> Any:
    return trt.PluginFieldType.FLOAT32 if field.dtype is _FLOAT else trt.PluginFieldType.INT32


def _expression(extent: Any, builder: Any) -> Any:
    return builder.constant(extent) if isinstance(extent, int) else extent
