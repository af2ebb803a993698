"""Node names that tell where one is: `network/encoder/layer1/0/conv1/Conv`, `crf/iteration_3/bilateral`."""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator

from onnx import FunctionProto, GraphProto, NodeProto
from onnx_ir import Graph, Node

_SCOPES = "pkg.torch.onnx.name_scopes"  # the exporter's note of the modules that a node comes from
_ROOT = "segmenter."
_STEPS = {"SpatialFilter": "spatial", "BilateralFilter": "bilateral", "MeanFieldUpdate": "update"}


def name_nodes(graph: Graph) -> None:
    """Names each node after the module that it comes from, and those of the CRF after their iteration."""
    taken: Counter[str] = Counter()
    iteration, inside = 1, "input"
    for node in graph.all_nodes():  # those of branches and loops too
        scope = _scope(node)
        if scope:
            inside = "output"  # what follows without a module comes after the segmenter
        if node.op_type == "BilateralLattice":
            name = "crf/lattice"
        elif node.op_type in _STEPS:
            name = f"crf/iteration_{iteration}/{_STEPS[node.op_type]}"
        else:
            name = f"{scope or inside}/{node.op_type}"
        iteration += node.op_type == "MeanFieldUpdate"
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}.{taken[name]}"


def name_body(function: FunctionProto) -> None:
    """Names each node of a function, those of its branches too, and sets the values inside apart from other functions'.

    ONNX Runtime before 1.22 makes names of fused nodes out of the nodes' and refuses two alike. onnxsim takes two
    values of one name for one, also in different functions.
    """
    taken: Counter[str] = Counter()
    outside = {"", *function.input, *function.output}

    def apart(names: Iterable[str]) -> list[str]:
        return [name if name in outside else f"{function.name}/{name}" for name in names]

    for node in _nodes(function.node):
        name = f"crf/{function.name}/{node.op_type}"
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}.{taken[name]}"
        node.input[:], node.output[:] = apart(node.input), apart(node.output)
        for graph in _graphs(node):
            for value in graph.output:
                value.name = f"{function.name}/{value.name}"


def _graphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        yield from (attribute.g, *attribute.graphs)


def _nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for graph in _graphs(node):
            yield from _nodes(graph.node)


def _scope(node: Node) -> str:
    """The module of a node, below the segmenter; empty for what lies around it."""
    scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
    modules = [scope for scope in scopes[:-1] if scope.startswith(_ROOT)]  # the last is the operation
    if modules:
        return modules[-1].removeprefix(_ROOT).replace(".", "/")
    return "segmenter" if "segmenter" in scopes else ""
