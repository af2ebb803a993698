"""From a trained run to one ONNX file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from onnx import ModelProto, helper

from segtool.card import METADATA_KEY, MOST_ITERATIONS, ModelCard, without_crf
from segtool.errors import SegtoolError
from segtool.export import network
from segtool.export.bodies import function_bodies
from segtool.export.file_check import check_file, expected_batches
from segtool.export.graph import INPUT, DeployedGraph
from segtool.export.half import halve
from segtool.export.int8 import Target, quantize_network
from segtool.export.network import PlaceholderSegmenter, fill_placeholder
from segtool.export.operators import DOMAIN, VERSION, translation_table
from segtool.export.save import save_onnx
from segtool.export.tidy import tidy
from segtool.export.trace import Dims, trace
from segtool.train.checkpoint import load_segmenter
from segtool.train.networks import Segmenter


class Calibration(NamedTuple):
    """Images as the model takes them that set the scales of 8 bits, iterated twice, and what the file is for."""

    images: Iterable[NDArray[Any]]
    target: Target = "tensorrt"


def export_onnx(
    run: Path,
    out: Path,
    *,
    iterations: int | None = None,
    size: tuple[int, int] | None = None,
    probabilities: bool = False,
    logits: bool = False,
    fp16: bool = False,
    int8: Calibration | None = None,
    crf: bool = True,
) -> ModelCard:
    """Writes the model of a run folder or checkpoint as ONNX, checked, with its card inside.

    Args:
        run: run folder or `.safetensors`.
        out: the `.onnx` file to write.
        iterations: mean-field iterations of the dense CRF; the card's own when not given.
        size: fixed (height, width); dynamic when not given.
        probabilities: also output all class probabilities.
        logits: also output what the dense CRF starts from, which maps need: their tiles are blended before it.
        fp16: network and potentials in float16; mean field has float32 in any case.
        int8: the network in 8 bits, by Q/DQ nodes.
        crf: False leaves the dense CRF out, for engines that cannot run it; the labels are then those before it.

    Returns:
        The card that the file holds.

    Raises:
        SegtoolError: the network cannot be exported, or not for every size; or iterations that no card may have.
            Nothing is written then.
    """
    if iterations is not None and not 1 <= iterations <= MOST_ITERATIONS:
        raise SegtoolError(f"the CRF can have 1 to {MOST_ITERATIONS} iterations", where=iterations)
    segmenter, card = load_segmenter(run)
    if not crf:
        segmenter.crf, card = None, without_crf(card)
    if card.crf is not None and segmenter.crf is not None:
        segmenter.crf = segmenter.crf.fixed()
        segmenter.crf.iterations = iterations or card.crf.iterations
        card = card.model_copy(update={"crf": segmenter.crf.to_card()})
    cases = expected_batches(segmenter, size)
    if fp16:
        halve(segmenter)
        card = card.model_copy(update={"precision": "float16"})
    graph = DeployedGraph(PlaceholderSegmenter(segmenter, len(card.classes)), probabilities, logits)
    model = _traced(graph, segmenter, card, size)
    if card.crf is not None:
        model.functions.extend(function_bodies(card.crf))
        if not any(o.domain == DOMAIN for o in model.opset_import):
            model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    if int8 is not None:
        model = quantize_network(model, int8.images, int8.target)
        card = card.model_copy(update={"precision": "int8"})
    helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    save_onnx(model, out, try_out=lambda file: check_file(file, cases, compare=int8 is None))
    return card


def _traced(graph: DeployedGraph, segmenter: Segmenter, card: ModelCard, size: tuple[int, int] | None) -> ModelProto:
    dim = torch.export.Dim
    dims: Dims = {0: dim("N")} if size else {0: dim("N"), 1: dim("H"), 2: dim("W")}
    height, width = size or (96, 64)
    # Batch 2: a batch of one would be taken for a constant.
    contract = segmenter.contract
    example = torch.zeros(2, height, width, contract.channels, dtype=getattr(torch, contract.kind))
    translations = translation_table() | network.translations()
    model = trace(graph, [example], [dims], inputs=[INPUT], outputs=graph.output_names, translations=translations)
    fill_placeholder(model, segmenter, len(card.classes))
    tidied = tidy(model)
    tidied.producer_name = "segtool"
    return tidied
