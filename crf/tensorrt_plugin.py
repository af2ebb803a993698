"""The CRF's operators as TensorRT plugins, on the CUDA entries of the native library.

TensorRT allocates before it runs, so the lattice has a fixed capacity: see `lattice_capacity`. An image with more
vertices gives a status of `OVERFLOW`, and NaN where the filter would give numbers.

The classes are made for a module (`tensorrt`, `tensorrt_lean`), since each has base classes of its own. Calls go to
TensorRT's stream, without allocation or synchronisation, so an engine can be captured in a CUDA graph.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segtool.crf.tensorrt_operators import NAMESPACE, OPERATORS, VERSION, Extents, Field, Launch, Operator

_registered: dict[str, list[Any]] = {}  # the registry of TensorRT does not keep creators alive


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
            operator.enqueue(Launch(shapes[0], shapes[1], self.fields, inputs, outputs, workspace, stream))

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
    return float(value) if field.dtype is np.float32 else int(value)


def _kind(trt: Any, field: Field) -> Any:
    return trt.PluginFieldType.FLOAT32 if field.dtype is np.float32 else trt.PluginFieldType.INT32


def _expression(extent: Any, builder: Any) -> Any:
    return builder.constant(extent) if isinstance(extent, int) else extent


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
