"""Is the deployed file the same model? PyTorch against every backend that this machine has, image by image."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

import segtool.runtime
from segtool.card import METADATA_KEY, ModelCard, ParityRecord, parse_card
from segtool.engine import read_record, write_record
from segtool.errors import SegtoolError
from segtool.export.bisect import first_difference
from segtool.export.difference import Case, Difference
from segtool.files import atomic_path
from segtool.runtime.onnx_runtime import OnnxRuntimeBackend, cuda_is_there
from segtool.train.checkpoint import load_segmenter
from segtool.train.predict import TorchPredictor

# Of the model's precision: least share of equal labels, largest difference of the winning probability. A float16
# network may put a boundary pixel on the other side, and there the probability of the winner jumps.
TOLERANCES = {"float32": (0.9999, 1e-3), "float16": (0.997, 0.25)}
_VARIED = 3  # of the first so many images also a crop and a batch are run

Image = NDArray[np.uint8]


def verify(
    run: Path,
    model: Path,
    cases: Iterable[Case],
    *,
    min_agreement: float | None = None,
    max_abs_dp: float | None = None,
) -> list[ParityRecord]:
    """Compares an exported file or engine with the checkpoint that it came from.

    Each image is run as it is; the first few also cropped to an odd size, if the file takes any size, and as a batch of
    two with their mirror images.

    Args:
        run: run folder or checkpoint.
        model: the `.onnx` or `.engine` file.
        min_agreement: least share of pixels with the same label; of the file's precision when not given.
        max_abs_dp: largest difference of the winning class' probability; likewise.

    Returns:
        A record of each backend: ONNX Runtime with the portable function bodies, with the native library, and on a CUDA
        device if there is one; or TensorRT. Where one fails, it says where the file begins to differ.
    """
    backends = _backends(model)
    segmenter, card = load_segmenter(run)
    deployed = backends[0].card
    if deployed.classes != card.classes or (deployed.crf is None) != (card.crf is None):
        raise SegtoolError("the file was exported from another model", where=model)
    reference = TorchPredictor(segmenter, deployed.crf.iterations if deployed.crf else None)
    differences = [Difference(len(card.classes)) for _ in backends]
    for number, case in enumerate(cases):
        for batch in _batches(case, backends[0], varied=number < _VARIED):
            expected = [reference(one.image) for one in batch]
            for difference, backend in zip(differences, backends, strict=True):
                difference.update(batch, expected, backend.batch([one.image for one in batch]))
    least, most = TOLERANCES[deployed.precision]
    limits = (min_agreement or least, max_abs_dp or most)
    records = []
    for difference, backend in zip(differences, backends, strict=True):
        record = difference.record(backend.backend.name, deployed.precision, *limits)
        records.append(record if record.passed else _explained(record, run, model, difference.worst[1], backend))
    return records


def store_parity(model: Path, records: Sequence[ParityRecord]) -> None:
    """Writes the records into the card of a file, or into the record beside an engine."""
    if model.suffix == ".engine":
        record = read_record(model)
        write_record(model, record.model_copy(update={"card": _with_parity(record.card, records)}))
        return
    proto = onnx.load(model, load_external_data=False)
    properties = {p.key: p.value for p in proto.metadata_props}
    card = _with_parity(parse_card(properties.get(METADATA_KEY), model), records)
    helper.set_model_props(proto, {**properties, METADATA_KEY: card.to_json()})
    with atomic_path(model) as temporary:
        onnx.save(proto, temporary)


def _with_parity(card: ModelCard, records: Sequence[ParityRecord]) -> ModelCard:
    return card.model_copy(update={"parity": list(records)})


def _backends(model: Path) -> list[segtool.runtime.Model]:
    if model.suffix == ".engine":
        return [segtool.runtime.load(model)]
    found = [segtool.runtime.load(model, backend="cpu", native=native) for native in (False, True)]
    if cuda_is_there() and "CUDA" in (fastest := segtool.runtime.load(model)).backend.name:
        found.append(fastest)
    return found


def _batches(case: Case, model: segtool.runtime.Model, varied: bool) -> Iterator[list[Case]]:
    yield [case]
    if not varied:
        return
    mirrored = Case(np.ascontiguousarray(case.image[:, ::-1]), None if case.truth is None else case.truth[:, ::-1])
    yield [case, mirrored]
    height, width = (max(1, side * 5 // 7 - 1 + side * 5 // 7 % 2) for side in case.image.shape[:2])  # odd
    if model.backend.size == (None, None):
        yield [Case(*(None if part is None else part[:height, :width].copy() for part in case))]  # type: ignore[arg-type]


def _explained(
    record: ParityRecord, run: Path, model: Path, image: Image, backend: segtool.runtime.Model
) -> ParityRecord:
    """The record with where the difference begins, if the file can be opened up: an engine cannot."""
    if not isinstance(backend.backend, OnnxRuntimeBackend):
        return record
    native = backend.backend.native
    return record.model_copy(
        update={"culprit": str(first_difference(run, model, image, backend.card.precision, native))}
    )
