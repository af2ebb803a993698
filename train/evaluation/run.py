"""Scoring a model on a split, image by image, in one process or several. The numbers do not depend on how many."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.card import Scores, ValidationScores
from segtool.prediction import Prediction
from segtool.train.data import SegmentationDataset
from segtool.train.evaluation.bootstrap import Bootstrap
from segtool.train.evaluation.counts import TOLERANCES, Counts, count_image
from segtool.train.evaluation.images import Row, image_row
from segtool.train.evaluation.scores import SetScores, set_scores

Predictor = Callable[..., Prediction]  # uint8 [H,W,3] -> Prediction
Progress = Callable[[int, int], None]
# Makes predictor and dataset; called once in every process, so it must be picklable.
Opener = Callable[[], tuple[Predictor, SegmentationDataset]]
_CHUNK = 8  # images that a process takes at a time


class Part(NamedTuple):
    """Some images: summed counts, and for each its row and its pixels of each class (see `Bootstrap.add`)."""

    before: Counts
    after: Counts | None
    images: list[tuple[Row, NDArray[np.int64], NDArray[np.int64]]]


@dataclass
class Evaluation:
    """What was counted on a split.

    Attributes:
        names: of the classes.
        before: counts of the network alone, or of a model without a CRF.
        after: counts of the whole model; None without a CRF.
        rows: one for each image, in the dataset's order.
    """

    names: list[str]
    before: Counts
    after: Counts | None
    bootstrap: Bootstrap
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def empty(cls, names: list[str]) -> "Evaluation":
        """Before the first image."""
        return cls(names, Counts.zeros(len(names)), None, Bootstrap(len(names)))

    @property
    def final(self) -> Counts:
        """Counts of the whole model."""
        return self.after or self.before

    def add(self, part: Part) -> None:
        """Adds the images that come next."""
        self.before += part.before
        if part.after is not None:
            self.after = self.after or Counts.zeros(len(self.names))
            self.after += part.after
        for row, before, after in part.images:
            self.bootstrap.add(len(self.rows), before, after)
            self.rows.append(row)

    def scores(self) -> tuple[SetScores, SetScores | None]:
        """Before and after the CRF."""
        return set_scores(self.before), set_scores(self.after) if self.after else None

    def validation_scores(self) -> ValidationScores:
        """As the model card holds them."""
        before, after = self.scores()
        return ValidationScores(
            before_crf=card_scores(before), after_crf=card_scores(after) if after else None, images=len(self.rows)
        )


def card_scores(scores: SetScores) -> Scores:
    """The three that the model card holds."""
    at_two_pixels = scores.boundary_f[TOLERANCES.index(2)]
    return Scores(miou=scores.miou, pixel_accuracy=scores.pixel_accuracy, boundary_f=at_two_pixels)


def evaluate(
    predictor: Predictor, dataset: SegmentationDataset, progress: Progress = lambda done, total: None
) -> Evaluation:
    """Scores any predictor on every image of a split, in this process."""
    total = Evaluation.empty(_names(dataset))
    for index in range(len(dataset)):
        total.add(evaluate_images(predictor, dataset, [index]))
        progress(index + 1, len(dataset))
    return total


def evaluate_in_processes(opener: Opener, processes: int, progress: Progress = lambda done, total: None) -> Evaluation:
    """`evaluate` in several processes, each with a predictor of its own."""
    _, dataset = opener()
    chunks = [range(i, min(i + _CHUNK, len(dataset))) for i in range(0, len(dataset), _CHUNK)]
    total = Evaluation.empty(_names(dataset))
    with ProcessPoolExecutor(processes, get_context("spawn"), _open_here, (opener,)) as pool:
        for part in pool.map(_evaluate_here, chunks):
            total.add(part)
            progress(len(total.rows), len(dataset))
    return total


def evaluate_images(predictor: Predictor, dataset: SegmentationDataset, indices: Sequence[int]) -> Part:
    """Scores some images."""
    names = _names(dataset)
    total: Part | None = None
    for index in indices:
        sample = dataset.load(index)
        prediction = predictor(sample.image)
        unary = prediction.unary_labels
        final = count_image(prediction.labels, sample.labels, len(names), prediction.confidence)
        before = final if unary is None else count_image(unary, sample.labels, len(names))
        after = None if unary is None else final
        image = (
            image_row(dataset.identifier(index), names, prediction, before, after),
            *map(_margins, (before, final)),
        )
        total = Part(before, after, [image]) if total is None else _joined(total, before, after, image)
    assert total is not None
    return total


def _joined(part: Part, before: Counts, after: Counts | None, image: Any) -> Part:
    part.before.__iadd__(before)
    if part.after is not None and after is not None:
        part.after.__iadd__(after)
    part.images.append(image)
    return part


def _margins(counts: Counts) -> Any:
    confusion = counts.confusion
    return np.stack([confusion.sum(1), confusion.sum(0), confusion.diagonal()])


def _names(dataset: SegmentationDataset) -> list[str]:
    return [c.name for c in dataset.classes]


_opened: list[Any] = []


def _open_here(opener: Opener) -> None:
    _opened[:] = opener()


def _evaluate_here(indices: range) -> Part:
    return evaluate_images(_opened[0], _opened[1], indices)
