"""Which unlabelled images to label next: those of which a model is least sure, and that differ from each other."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.prediction import Prediction

_CELLS = 4  # of an image, along each side


class Look(NamedTuple):
    """What is kept of an image.

    Attributes:
        uncertainty: 1 less the probability of the winning class, mean over its pixels, 0..1.
        content: float32 [D], what the image shows and where: shares of classes and mean colours of its cells.
    """

    uncertainty: float
    content: NDArray[np.float32]


class Ranked(NamedTuple):
    """An image's place in the order.

    Attributes:
        image: its index.
        uncertainty: see `Look`.
        difference: from the most similar image before it, 0..1; 1 for the first; NaN for those that were not compared.
    """

    image: int
    uncertainty: float
    difference: float


def look_at(image: NDArray[np.uint8], prediction: Prediction, classes: int) -> Look:
    """What of an image decides its rank.

    Args:
        image: uint8 [H,W,3].
        classes: how many there are.
    """
    cells = []
    for rows in np.array_split(np.arange(image.shape[0]), _CELLS):
        for columns in np.array_split(np.arange(image.shape[1]), _CELLS):
            cells.append(_cell(image, prediction.labels, rows, columns, classes))
    return Look(float(1 - prediction.confidence.mean()), np.concatenate(cells).astype(np.float32))


def _cell(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    classes: int,
) -> NDArray[np.float64]:
    if not (len(rows) and len(columns)):  # of an image of fewer than four pixels
        return np.zeros(classes + 3)
    place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    shares = np.bincount(labels[place].ravel(), minlength=classes)[:classes] / (len(rows) * len(columns))
    return np.concatenate([shares, image[place].mean((0, 1)) / 255])


def rank(looks: list[Look], compared: int) -> list[Ranked]:
    """The images in the order in which to label them.

    The first is the least certain one; each next one has the largest product of uncertainty and difference from the
    most similar image chosen before: the greedy choice of Sener and Savarese, "Active Learning for Convolutional
    Neural Networks: A Core-Set Approach" (2018), weighted by uncertainty.

    Args:
        compared: how many images are chosen so; the others follow by uncertainty alone.
    """
    if not looks:
        return []
    uncertainty = np.array([look.uncertainty for look in looks])
    content = np.stack([look.content for look in looks])
    nearest = np.full(len(looks), np.inf)
    left = np.ones(len(looks), bool)
    largest = np.sqrt(_CELLS**2 * (2 + 3))  # of two images without a class or a colour in common
    chosen: list[Ranked] = []
    while left.any() and len(chosen) < compared:
        difference = np.minimum(nearest / largest, 1)
        best = int(np.argmax(np.where(left, uncertainty * difference, -1)))
        chosen.append(Ranked(best, float(uncertainty[best]), float(difference[best])))
        left[best] = False
        nearest = np.minimum(nearest, np.linalg.norm(content - content[best], axis=1))
    rest = sorted(np.flatnonzero(left).tolist(), key=lambda index: -uncertainty[index])
    return [*chosen, *(Ranked(index, float(uncertainty[index]), float("nan")) for index in rest)]
