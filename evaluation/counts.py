"""What is counted of an image. Everything is an integer, so sums are the same in any order and any number of
processes."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from segtool.evaluation.boundaries import Labels, Truth, match_boundaries
from segtool.evaluation.library import call

TOLERANCES = (1, 2, 4, 8)  # pixels
CONFIDENCE_BINS = 15
CONFIDENCE_UNIT = 1 << 16  # confidences are summed as integers of this fraction, see counts.cpp

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


def count_image(predicted: Labels, truth: Truth, confidence: NDArray[np.float32] | None = None) -> Counts:
    """Counts one image.

    Args:
        predicted: class ids [H,W].
        confidence: of the predicted class, [H,W], 0..1.
    """
    classes, rings = truth.classes, len(truth.tolerances) + 1
    cells, calibration = np.zeros((rings, classes**2), np.int64), np.zeros((3, CONFIDENCE_BINS), np.int64)
    inputs = [np.ascontiguousarray(a, np.uint8) for a in (truth.labels, predicted, truth.bands)]
    sure = None if confidence is None else np.ascontiguousarray(confidence, np.float32)
    call(
        "count_pixels",
        *(a.ctypes.data for a in inputs),
        None if sure is None else sure.ctypes.data,
        truth.labels.size,
        *(classes, rings, CONFIDENCE_BINS),
        *(a.ctypes.data for a in (cells, calibration)),
    )
    confusion = cells.sum(0)
    return Counts(
        confusion=confusion.reshape(classes, classes),
        boundary=match_boundaries(predicted, truth),
        bands=_band_margins(cells, confusion, classes),
        calibration=calibration,
        void=np.array(truth.labels.size - confusion.sum()),
    )


def _band_margins(cells: Array, confusion: Array, classes: int) -> Array:
    """True, predicted and common pixels of each class within each tolerance, [K,3,C]."""
    at = np.flatnonzero(confusion)  # with many classes, few of the C^2 pairs occur
    true, predicted = at // classes, at % classes
    same = true == predicted
    bands = np.zeros((3, classes, len(cells)), np.int64)
    found = cells[:, at].T
    np.add.at(bands[0], true, found)
    np.add.at(bands[1], predicted, found)
    bands[2, true[same]] = found[same]
    return bands.transpose(2, 0, 1)[:-1].cumsum(0)
