"""Cleaning what torch's exporter writes."""

import onnx_ir as ir
from onnx import ModelProto, helper
from onnx_ir.passes import common
from onnxscript import optimizer

from segtool.export.names import name_nodes


def tidy(model: ir.Model) -> ModelProto:
    """Folds constants, merges equal nodes, drops unused ones, names the rest, and drops the exporter's notes.

    The exporter's own optimizer does more than a runtime needs and takes most of a minute.
    """
    optimizer.fold_constants(model)
    common.RemoveUnusedNodesPass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.DeduplicateInitializersPass()(model)
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    name_nodes(model.graph)
    common.ClearMetadataAndDocStringPass()(model)
    proto = ir.to_proto(model)
    # The exporter writes a newer one, of which the graph has nothing, and older runtimes refuse it.
    proto.ir_version = helper.find_min_ir_version_for(proto.opset_import, ignore_unknown=True)
    return proto
