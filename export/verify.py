"""Is the deployed file the same model? PyTorch against every backend that this machine has, image by image."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

import segtool.runtime
from segtool.card import METADATA_KEY, ModelCard, ParityRecord, parse_card
from segtool.drawing import resized
from segtool.engine import read_record, write_record
from segtool.errors import SegtoolError
from segtool.export.bisect import first_difference, quantised_nodes
from segtool.export.comparison import Case, Comparison, Limits
from segtool.export.save import forget_digest
from segtool.files import atomic_path
from segtool.integrity import onnx_is_intact, sign_onnx, signed_weights
from segtool.runtime.backend import Backend
from segtool.runtime.onnx_runtime import OnnxRuntimeBackend, cuda_is_there
from segtool.train.checkpoint import load_segmenter
from segtool.train.predict import TorchPredictor

# Of the model's precision. A float16 network may put a boundary pixel on the other side, and there the probability of
# the winner jumps. With 8 bits whole borders move, and any probability may be another.
TOLERANCES = {
    "float32": Limits(0.9999, 1e-3, 0.001),
    "float16": Limits(0.997, 0.25, 0.001),
    "int8": Limits(0.95, 1.0, 0.01),
}
_VARIED = 3  # of the first so many images also a crop and a batch are run

Image = NDArray[Any]  # [H,W,B]


def verify(
    run: Path,
    model: Path,
    cases: Iterable[Case],
    limits: Limits | None = None,
) -> list[ParityRecord]:
    """Compares an exported file or engine with the checkpoint that it came from.

    Each image is run as it is, or in the nearest size that the file takes; where it takes such, the first few also
    cropped to an odd size, and as a batch of two with their mirror images.

    Args:
        run: run folder or checkpoint.
        model: the `.onnx` or `.engine` file.
        limits: what passes; `TOLERANCES` of the file's precision when not given.

    Returns:
        A record of each backend: ONNX Runtime with the portable function bodies, with the native library, and on a CUDA
        device if there is one; or TensorRT. Where one fails, it says where the file begins to differ.
    """
    backends = _backends(model)
    segmenter, card = load_segmenter(run)
    deployed = backends[0].card
    other_crf = deployed.context != card.context or (deployed.crf is not None and card.crf is None)
    if deployed.classes != card.classes or other_crf:
        raise SegtoolError("the file was exported from another model", where=model)
    if deployed.crf is None:  # a run with one may be exported without it
        segmenter.crf = None
    reference = TorchPredictor(segmenter, deployed.crf.iterations if deployed.crf else None)
    comparisons = [Comparison(len(card.classes)) for _ in backends]
    for number, case in enumerate(cases):
        for batch in _batches(case, backends[0].backend, varied=number < _VARIED):
            expected = [reference(one.image) for one in batch]
            for comparison, backend in zip(comparisons, backends, strict=True):
                comparison.update(batch, expected, backend.batch([one.image for one in batch]))
    limits = limits or TOLERANCES[deployed.precision]
    records = []
    for comparison, backend in zip(comparisons, backends, strict=True):
        record = comparison.record(backend.backend.name, deployed.precision, limits)
        records.append(record if record.passed else _explained(record, run, model, comparison.worst[1], backend))
    return records


def store_parity(model: Path, records: Sequence[ParityRecord]) -> ModelCard:
    """Writes the records into the card of a file, or into the record beside an engine; returns that card."""
    if model.suffix == ".engine":
        record = read_record(model)
        card = _with_parity(record.card, records)
        write_record(model, record.model_copy(update={"card": card}))
        return card
    intact = onnx_is_intact(model)
    weights = signed_weights(model) if intact else None
    proto = onnx.load(model, load_external_data=False)
    properties = {p.key: p.value for p in proto.metadata_props}
    card = _with_parity(parse_card(properties.get(METADATA_KEY), model), records)
    helper.set_model_props(proto, {**properties, METADATA_KEY: card.to_json()})
    if intact:
        forget_digest(proto)
    with atomic_path(model) as temporary:
        onnx.save(proto, temporary)
        if intact:  # else whoever opens it is still told
            sign_onnx(temporary, weights)
    return card


def _with_parity(card: ModelCard, records: Sequence[ParityRecord]) -> ModelCard:
    return card.model_copy(update={"parity": list(records)})


def _backends(model: Path) -> list[segtool.runtime.Model]:
    if model.suffix == ".engine":
        return [segtool.runtime.load(model)]
    found = [segtool.runtime.load(model, backend="cpu", native=native) for native in (False, True)]
    if cuda_is_there() and "CUDA" in (fastest := segtool.runtime.load(model)).backend.name:
        found.append(fastest)
    return found


def _batches(case: Case, backend: Backend, varied: bool) -> Iterator[list[Case]]:
    """Batches that the backend takes, of an image that it may not take."""
    n, height, width = backend.nearest((1, case.image.shape[0], case.image.shape[1]))
    case = _fitted(case, height, width)
    yield [case] * n
    if not varied:
        return
    if backend.nearest((2, height, width))[0] == 2:
        yield [case, Case(*(None if part is None else np.ascontiguousarray(part[:, ::-1]) for part in case))]  # type: ignore[arg-type]
    height, width = (max(1, side * 5 // 7 - 1 + side * 5 // 7 % 2) for side in (height, width))  # odd
    if backend.nearest((n, height, width)) == (n, height, width):
        yield n * [Case(*(None if part is None else part[:height, :width].copy() for part in case))]  # type: ignore[arg-type]


def _fitted(case: Case, height: int, width: int) -> Case:
    if case.image.shape[:2] == (height, width):
        return case
    truth = None if case.truth is None else resized(case.truth, height, width, labels=True)
    return Case(_resized(case.image, height, width), truth)


def _resized(image: Image, height: int, width: int) -> Image:
    """A picture bilinear; of bands the nearest pixels, whose numbers are some that the camera gave."""
    if image.dtype == np.uint8 and image.shape[2] == 3:
        return resized(image, height, width)
    rows, columns = (np.arange(new) * old // new for new, old in zip((height, width), image.shape, strict=False))
    return image[rows[:, None], columns]


def _explained(
    record: ParityRecord, run: Path, model: Path, image: Image, backend: segtool.runtime.Model
) -> ParityRecord:
    """The record with where the difference begins, if the file can be opened up: an engine cannot."""
    if not isinstance(backend.backend, OnnxRuntimeBackend):
        return record
    if backend.card.precision == "int8":  # its layers are other layers than PyTorch's
        return record.model_copy(update={"culprit": "8 bits do not do here: calibrate with more images, or use --fp16"})
    if added := quantised_nodes(model):
        culprit = f"8-bit nodes that segtool export did not write ({added}): use segtool export --int8 --calibrate"
        return record.model_copy(update={"culprit": culprit})
    first = first_difference(run, model, image, backend.card.precision, backend.backend.native)
    return record.model_copy(update={"culprit": str(first)})
