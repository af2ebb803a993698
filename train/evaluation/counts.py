"""What is counted of an image. Everything is an integer, so sums are the same in any order and any number of
processes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from segtool.train.evaluation.boundaries import Labels, boundary_bands, match_boundaries

TOLERANCES = (1, 2, 4, 8)  # pixels
CONFIDENCE_BINS = 15
CONFIDENCE_UNIT = 1 << 16  # confidences are summed as integers of this fraction

Array = NDArray[np.int64]


@dataclass
class Counts:
    """Counts of one image, or of a set of them.

    Attributes:
        confusion: [C,C]; rows are the truth.
        boundary: [K,4,C], see `match_boundaries`.
        bands: [K,3,C]: true, predicted, and both, within each tolerance of a true boundary.
        calibration: [3,B]: pixels, right ones, and the sum of confidences, in bins of confidence.
        void: pixels without a label.
    """

    confusion: Array
    boundary: Array
    bands: Array
    calibration: Array
    void: Array

    @classmethod
    def zeros(cls, classes: int, tolerances: int = len(TOLERANCES)) -> "Counts":
        """Counts of nothing."""
        shapes = ((classes, classes), (tolerances, 4, classes), (tolerances, 3, classes), (3, CONFIDENCE_BINS), ())
        return cls(*(np.zeros(shape, np.int64) for shape in shapes))

    def __iadd__(self, other: "Counts") -> "Counts":
        for field in fields(self):
            getattr(self, field.name)[...] += getattr(other, field.name)
        return self

    @property
    def classes(self) -> int:
        """C."""
        return len(self.confusion)


def count_image(
    predicted: Labels,
    truth: Labels,
    classes: int,
    confidence: NDArray[np.float32] | None = None,
    tolerances: Sequence[int] = TOLERANCES,
) -> Counts:
    """Counts one image.

    Args:
        predicted, truth: class ids [H,W]; truth >= classes is void.
        confidence: of the predicted class, [H,W], 0..1.
        tolerances: of the boundary scores, pixels, ascending.
    """
    valid = truth < classes
    confusion, bands = _confusions(predicted, truth, valid, classes, tolerances)
    return Counts(
        confusion=confusion,
        boundary=match_boundaries(predicted, truth, classes, tolerances),
        bands=bands,
        calibration=_calibration(predicted == truth, confidence, valid),
        void=np.array(valid.size - np.count_nonzero(valid)),
    )


def _confusions(
    predicted: Labels,
    truth: Labels,
    valid: NDArray[np.bool_],
    classes: int,
    widths: Sequence[int],
) -> tuple[Array, Array]:
    """The confusion matrix, and true, predicted and common pixels of each class in each band."""
    band = boundary_bands(truth, classes, widths)[valid]
    t, p = truth[valid].astype(np.intp), predicted[valid].astype(np.intp)
    confusion = np.bincount(t * classes + p, minlength=classes**2).reshape(classes, classes)
    rings = len(widths) + 1
    hit = t == p
    parts = [
        np.bincount(band[chosen] * classes + labels[chosen], minlength=rings * classes).reshape(rings, classes)
        for labels, chosen in ((t, slice(None)), (p, slice(None)), (t, hit))
    ]
    return confusion, np.stack(parts, 1)[:-1].cumsum(0)


def _calibration(right: NDArray[np.bool_], confidence: NDArray[np.float32] | None, valid: NDArray[np.bool_]) -> Array:
    counts = np.zeros((3, CONFIDENCE_BINS), np.int64)
    if confidence is not None:
        units = np.rint(np.clip(confidence[valid], 0, 1) * CONFIDENCE_UNIT).astype(np.int64)
        # Bins are open below and closed above, as in Guo et al. (2017).
        bins = np.clip(-(-units * CONFIDENCE_BINS // CONFIDENCE_UNIT) - 1, 0, CONFIDENCE_BINS - 1)
        counts[0] = np.bincount(bins, minlength=CONFIDENCE_BINS)
        counts[1] = np.bincount(bins[right[valid]], minlength=CONFIDENCE_BINS)
        np.add.at(counts[2], bins, units)
    return counts
