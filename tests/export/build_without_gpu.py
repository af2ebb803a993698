"""Run in a process of its own: segtool's build in TensorRT-RTX, the one TensorRT that parses and builds without a GPU.

    python -m tests.export.build_without_gpu build MODEL.onnx FOLDER
    python -m tests.export.build_without_gpu plugin MODEL.onnx TYPE

`build` writes FOLDER/model.engine and says what the network gives; `plugin` says what the parser hands to the plugin of
a type of node.

It has no plugins: it dies when it has made one. So for `build` standard nodes of the same types and shapes stand where
the CRF's are.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import tensorrt_rtx as trt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from segtool.crf import tensorrt_plugin
from segtool.crf.tensorrt_operators import NAMESPACE, OPERATORS
from segtool.engine import STATUS, Machine, Profile
from segtool.export import tensorrt_build
from segtool.export.tensorrt_build import build_engine, channels_of, fixed_size, prepare

from ..own_process import end_with

NOWHERE = Machine(tensorrt=trt.__version__, gpu="none", compute_capability="0.0", driver="none")


def build(source: Path, folder: Path) -> dict:
    parsed = []
    parse = tensorrt_build._parsed
    tensorrt_build.prepare = lambda *arguments: _without_plugins(prepare(*arguments))
    tensorrt_build._parsed = lambda *arguments: parsed.append(parse(*arguments)) or parsed[0]
    model = onnx.load(source)
    (height, width), channels = fixed_size(model), channels_of(model)
    shapes = {
        name: (n, height or h, width or w, channels)
        for name, (n, h, w) in {"min": (1, 256, 256), "opt": (1, 480, 640), "max": (4, 1080, 1920)}.items()
    }
    steps = []
    build_engine(source, folder / "model.engine", Profile(**shapes), NOWHERE, trt, progress=lambda *s: steps.append(s))
    (network,) = parsed
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    return {
        "input": [network.get_input(0).name, *_described(network.get_input(0))],
        "outputs": {output.name: _described(output) for output in outputs},
        "last step": steps[-1],
        "without torch": "torch" not in sys.modules,
    }


def _described(tensor) -> list:
    return [tensor.dtype.name, list(tensor.shape)]


def _without_plugins(model: onnx.ModelProto) -> onnx.ModelProto:
    nodes = [stand_in for node in model.graph.node for stand_in in _stand_in(node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _stand_in(node: NodeProto) -> list[NodeProto]:
    if node.domain != NAMESPACE:
        return [node]
    if node.op_type == "BilateralLattice":  # the filters' stand-ins want none of it
        status = numpy_helper.from_array(np.zeros(2, np.int32))
        return [helper.make_node("Constant", [], [STATUS], name=node.name, value=status)]
    if node.op_type == "MeanFieldUpdate":  # unary, spatial and bilateral message, two tables
        return [helper.make_node("Sum", node.input[:3], node.output, name=node.name)]
    return [helper.make_node("Identity", node.input[:1], node.output, name=node.name)]


def plugin(source: Path, kind: str) -> None:
    operator = next(o for o in OPERATORS if o.name == kind)
    creator = next(c for c in tensorrt_plugin.register(trt) if c.name == kind)
    create = type(creator).create_plugin

    def tell(self, name, field_collection, phase):
        made = create(self, name, field_collection, phase)
        given = {f.name: [f.type.name, *f.data.tolist()] for f in field_collection}
        print(json.dumps({"name": name, "given": given, "fields": made.fields}), flush=True)
        return made

    type(creator).create_plugin = tell
    node = next(n for n in prepare(onnx.load(source), 0.75).graph.node if n.op_type == kind)
    kinds = {"FLOAT": TensorProto.FLOAT, "INT32": TensorProto.INT32}
    inputs, outputs = (
        [helper.make_tensor_value_info(n, kinds[k], None) for n, k in zip(names, types, strict=True)]
        for names, types in ((node.input, operator.inputs), (node.output, operator.outputs))
    )
    graph = helper.make_graph([node], "one", inputs, outputs)
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(NAMESPACE, 1)]
    logger = trt.Logger(trt.Logger.WARNING)
    network = trt.Builder(logger).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    trt.OnnxParser(network, logger).parse(helper.make_model(graph, opset_imports=imports).SerializeToString())


def main(what: str, model: str, argument: str) -> None:
    if what == "build":
        print(json.dumps(build(Path(model), Path(argument))))
    else:
        plugin(Path(model), argument)


end_with(lambda: main(*sys.argv[1:]))
