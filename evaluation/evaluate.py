"""Scoring a model on a split, image by image. The numbers do not depend on how many processes share the work."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.card import Scores, ValidationScores
from segtool.data import SegmentationDataset
from segtool.evaluation.bootstrap import Bootstrap
from segtool.evaluation.boundaries import Truth
from segtool.evaluation.counts import TOLERANCES, Counts, count_image
from segtool.evaluation.scores import MeanOverImages, SetScores, image_boundary_f, set_scores
from segtool.evaluation.table import Row, image_row
from segtool.evaluation.workers import Predictor, Workers
from segtool.prediction import Prediction

Progress = Callable[[int, int], None]
TakeRow = Callable[[Row], object]


class StageCounts(NamedTuple):
    """What was counted of the same images.

    Attributes:
        before: of the network alone, or of a model without a CRF.
        context: between the contextual and the dense CRF; None for a model without either.
        after: of the whole model; None without a CRF.
    """

    before: Counts
    context: Counts | None
    after: Counts | None

    @property
    def final(self) -> Counts:
        """Counts of the whole model."""
        return self.after or self.before


class ScoredImage(NamedTuple):
    """One image: what was counted, and its row of the table."""

    counts: StageCounts
    row: Row


@dataclass
class Evaluation:
    """What was counted on a split. Of a single image only two numbers are kept, so memory does not grow.

    Attributes:
        names: of the classes.
        before, context, after: see `StageCounts`.
        boundary_before, boundary_context, boundary_after: boundary F at each tolerance, as the mean over the images;
            see `SetScores` for that of all boundaries together.
        mious: of each image, in the dataset's order; NaN where nothing is labelled.
        crf_gains: what the CRF added to each; empty without one.
    """

    names: list[str]
    before: Counts
    after: Counts | None
    bootstrap: Bootstrap
    context: Counts | None = None
    boundary_before: MeanOverImages = field(default_factory=lambda: MeanOverImages(len(TOLERANCES)))
    boundary_context: MeanOverImages = field(default_factory=lambda: MeanOverImages(len(TOLERANCES)))
    boundary_after: MeanOverImages = field(default_factory=lambda: MeanOverImages(len(TOLERANCES)))
    mious: array = field(default_factory=lambda: array("d"))
    crf_gains: array = field(default_factory=lambda: array("d"))

    @classmethod
    def empty(cls, names: list[str]) -> "Evaluation":
        """Before the first image."""
        return cls(names, Counts.zeros(len(names)), None, Bootstrap(len(names)))

    @property
    def images(self) -> int:
        """How many images were scored."""
        return len(self.mious)

    @property
    def final(self) -> Counts:
        """Counts of the whole model."""
        return self.after or self.before

    def add(self, image: ScoredImage) -> None:
        """Adds the image that comes next."""
        (before, context, after), row = image
        self.before += before
        self.boundary_before.add(image_boundary_f(before))
        if context is not None:
            self.context = self.context or Counts.zeros(len(self.names))
            self.context += context
            self.boundary_context.add(image_boundary_f(context))
        if after is not None:
            self.after = self.after or Counts.zeros(len(self.names))
            self.after += after
            self.boundary_after.add(image_boundary_f(after))
            self.crf_gains.append(row["crf_gain"])
        self.bootstrap.add(self.images, _margins(before), _margins(after or before))
        self.mious.append(row["miou"])

    @property
    def columns(self) -> dict[str, tuple[Counts, MeanOverImages]]:
        """What there is of before_crf, after_context and after_crf, or value for a model without a CRF: counts, and
        boundary F as the mean over images."""
        if self.after is None:
            return {"value": (self.before, self.boundary_before)}
        context = {} if self.context is None else {"after_context": (self.context, self.boundary_context)}
        return {
            "before_crf": (self.before, self.boundary_before),
            **context,
            "after_crf": (self.after, self.boundary_after),
        }

    def scores(self) -> tuple[SetScores, SetScores | None]:
        """Of the network alone and of the whole model; None without a CRF."""
        return set_scores(self.before), set_scores(self.after) if self.after else None

    def validation_scores(self) -> ValidationScores:
        """As the model card holds them."""
        found = {name: card_scores(set_scores(counts)) for name, (counts, _) in self.columns.items()}
        return ValidationScores(
            before_crf=found.get("before_crf") or found["value"],
            after_context=found.get("after_context"),
            after_crf=found.get("after_crf"),
            images=self.images,
        )


def card_scores(scores: SetScores) -> Scores:
    """The three that the model card holds."""
    at_two_pixels = scores.boundary_f[TOLERANCES.index(2)]
    return Scores(miou=scores.miou, pixel_accuracy=scores.pixel_accuracy, boundary_f=at_two_pixels)


def evaluate(
    predictor: Predictor,
    dataset: SegmentationDataset,
    take_row: TakeRow = lambda row: None,
    progress: Progress = lambda done, total: None,
) -> Evaluation:
    """Scores any predictor on every image of a split.

    Args:
        predictor: uint8 [H,W,3] to a `Prediction`.
        take_row: receives the row of each image as it is scored; `rows.append` keeps them in memory, and
            `pandas.DataFrame(rows)` is the table that images.csv holds.
        progress: called with images done and in all.
    """
    with Workers(lambda: (predictor, dataset)) as workers:
        return evaluate_with(workers, take_row, progress)


def evaluate_with(
    workers: Workers, take_row: TakeRow = lambda row: None, progress: Progress = lambda done, total: None
) -> Evaluation:
    """`evaluate` in the processes of `workers`."""
    found, total = Evaluation.empty([c.name for c in workers.dataset.classes]), len(workers.dataset)
    for image in workers.map(score_image, range(total)):
        found.add(image)
        take_row(image.row)
        progress(found.images, total)
    return found


def score_image(predictor: Predictor, dataset: SegmentationDataset, index: int) -> ScoredImage:
    """Predicts and counts one image."""
    sample = dataset.load(index)
    prediction = predictor(sample.image)
    names = [c.name for c in dataset.classes]
    counts = count_prediction(prediction, sample.labels, len(names))
    return ScoredImage(counts, image_row(dataset.identifier(index), names, prediction, *counts))


def count_prediction(prediction: Prediction, labels: NDArray[np.uint8], classes: int) -> StageCounts:
    """Counts of one image."""
    truth = Truth(labels, classes, TOLERANCES)
    final = count_image(prediction.labels, truth, prediction.confidence)
    if prediction.unary_labels is None:
        return StageCounts(final, None, None)
    before = count_image(prediction.unary_labels, truth, prediction.unary_confidence)
    if prediction.context_labels is None:
        return StageCounts(before, None, final)
    return StageCounts(before, count_image(prediction.context_labels, truth, prediction.context_confidence), final)


def _margins(counts: Counts) -> NDArray[np.int64]:
    confusion = counts.confusion
    return np.stack([confusion.sum(1), confusion.sum(0), confusion.diagonal()])
