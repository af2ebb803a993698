"""Cleaning what torch's exporter writes."""

from onnx import ModelProto
from onnx_ir.passes import common
from onnxscript import optimizer
from torch.onnx import ONNXProgram


def tidy(program: ONNXProgram | None) -> ModelProto:
    """Folds constants, merges equal nodes, drops unused ones and the exporter's notes of its sources.

    The exporter's own optimizer does more than a runtime needs and takes most of a minute.
    """
    assert program is not None
    model = program.model
    optimizer.fold_constants(model)
    common.RemoveUnusedNodesPass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.DeduplicateInitializersPass()(model)
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    common.ClearMetadataAndDocStringPass()(model)
    return program.model_proto
