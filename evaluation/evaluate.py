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


class ScoredImage(NamedTuple):
    """One image: what was counted before and after the CRF (None without one), and its row of the table."""

    before: Counts
    after: Counts | None
    row: Row


@dataclass
class Evaluation:
    """What was counted on a split. Of a single image only two numbers are kept, so memory does not grow.

    Attributes:
        names: of the classes.
        before: counts of the network alone, or of a model without a CRF.
        after: counts of the whole model; None without a CRF.
        boundary_before, boundary_after: boundary F at each tolerance, as the mean over the images; see `SetScores` for
            that of all boundaries together.
        mious: of each image, in the dataset's order; NaN where nothing is labelled.
        crf_gains: what the CRF added to each; empty without one.
    """

    names: list[str]
    before: Counts
    after: Counts | None
    bootstrap: Bootstrap
    boundary_before: MeanOverImages = field(default_factory=lambda: MeanOverImages(len(TOLERANCES)))
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
        before, after, row = image
        self.before += before
        self.boundary_before.add(image_boundary_f(before))
        if after is not None:
            self.after = self.after or Counts.zeros(len(self.names))
            self.after += after
            self.boundary_after.add(image_boundary_f(after))
            self.crf_gains.append(row["crf_gain"])
        self.bootstrap.add(self.images, _margins(before), _margins(after or before))
        self.mious.append(row["miou"])

    def scores(self) -> tuple[SetScores, SetScores | None]:
        """Before and after the CRF."""
        return set_scores(self.before), set_scores(self.after) if self.after else None

    def validation_scores(self) -> ValidationScores:
        """As the model card holds them."""
        before, after = self.scores()
        return ValidationScores(
            before_crf=card_scores(before), after_crf=card_scores(after) if after else None, images=self.images
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
    before, after = count_prediction(prediction, sample.labels, len(names))
    return ScoredImage(before, after, image_row(dataset.identifier(index), names, prediction, before, after))


def count_prediction(prediction: Prediction, labels: NDArray[np.uint8], classes: int) -> tuple[Counts, Counts | None]:
    """Counts before and after the CRF; without one, of the model and None."""
    truth = Truth(labels, classes, TOLERANCES)
    final = count_image(prediction.labels, truth, prediction.confidence)
    if prediction.unary_labels is None:
        return final, None
    return count_image(prediction.unary_labels, truth, prediction.unary_confidence), final


def _margins(counts: Counts) -> NDArray[np.int64]:
    confusion = counts.confusion
    return np.stack([confusion.sum(1), confusion.sum(0), confusion.diagonal()])
