"""Run in a process of its own: the plugins in the registry of TensorRT's lean runtime, which outlives Python."""

import numpy as np
import tensorrt_lean as trt

from segtool.crf import tensorrt_plugin
from segtool.crf.tensorrt_operators import OPERATORS

from ..own_process import end_with


def check() -> None:
    tensorrt_plugin.register(trt)
    assert tensorrt_plugin.register(trt) is tensorrt_plugin.register(trt), "registered once"
    registry = trt.get_plugin_registry()
    for operator in OPERATORS:
        creator = registry.get_creator(operator.name, "1", "segtool")
        assert creator is not None, operator.name
        assert [f.name for f in creator.field_names] == [f.name for f in operator.fields]
        _check_plugins(creator, operator)
    print("registered, made, cloned, kept")


def _check_plugins(creator, operator) -> None:
    given = {"spatial_sigma": 20.25, "color_sigma": 8.5, "vertices_per_pixel": 0.75, "sigma": 1.5, "reverse": 1}
    expected = {f.name: given.get(f.name, 0) for f in operator.fields}
    # The parser hands floats as floats, and integers with 32 bits.
    data = [np.array([expected[f.name]], f.dtype) for f in operator.fields]
    kinds = [trt.PluginFieldType.FLOAT32 if d.dtype == np.float32 else trt.PluginFieldType.INT32 for d in data]
    fields = [trt.PluginField(f.name, d, k) for f, d, k in zip(operator.fields, data, kinds, strict=True)]
    plugin = creator.create_plugin("node", trt.PluginFieldCollection(fields), trt.TensorRTPhase.BUILD)
    assert plugin.fields == expected
    copy = plugin.clone()
    copy.fields[next(iter(expected))] = 7
    assert plugin.fields == expected, "a clone has fields of its own"
    kept = plugin.get_fields_to_serialize()
    assert creator.create_plugin("again", kept, trt.TensorRTPhase.RUNTIME).fields == expected
    assert (plugin.plugin_name, plugin.plugin_version, plugin.plugin_namespace) == (operator.name, "1", "segtool")
    assert plugin.num_outputs == len(operator.outputs) == len(plugin.get_output_data_types([]))
    assert all(isinstance(kind, trt.DataType) for kind in plugin.get_output_data_types([]))
    assert plugin.attach_to_context(None).fields == expected
    plugin.set_tactic(0)
    defaults = creator.create_plugin("bare", trt.PluginFieldCollection([]), trt.TensorRTPhase.BUILD).fields
    assert defaults == {f.name: f.default for f in operator.fields}


end_with(check)
