"""Why an image failed: its wrong pixels by kind, and the two classes that explain most of them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segtool.data import Sample
from segtool.evaluation.boundaries import Truth
from segtool.prediction import Prediction

NEAR_BOUNDARY = 4  # pixels from a true boundary
CONFIDENT = 0.9  # mean confidence of a region whose label is suspected rather than the prediction
CONSISTENT = 0.9  # share of an object that has one and the same wrong class
MISSED = 0.25  # recall of an object that counts as missed
KINDS = ("near boundary", "missed object", "wrong class", "label suspected", "scattered")

Mask = NDArray[np.bool_]


class Diagnosis(NamedTuple):
    """What went wrong in an image.

    Attributes:
        kind: the one of `KINDS` with most wrong pixels.
        shares: of the wrong pixels, by kind; they sum to 1, or all are 0 when nothing is wrong.
        pair: the true and the predicted class of most wrong pixels, and their share of them; None if nothing is wrong.
    """

    kind: str
    shares: dict[str, float]
    pair: tuple[int, int, float] | None


def diagnose(sample: Sample, prediction: Prediction, classes: int) -> Diagnosis:
    """Sorts the wrong pixels of one image.

    Pixels near a true boundary are near misses. The others belong to connected regions of one true and one predicted
    class. Of such a region the true object around it is looked at: is it confidently and consistently something else
    (then its label is suspected), was it missed for what surrounds it, or taken for another class?
    """
    truth, predicted = sample.labels, prediction.labels
    wrong = (truth < classes) & (predicted != truth)
    total = int(wrong.sum())
    if total == 0:
        return Diagnosis("none", dict.fromkeys(KINDS, 0.0), None)
    near = wrong & (Truth(truth, classes, [NEAR_BOUNDARY]).bands == 0)
    pixels = dict.fromkeys(KINDS, 0)
    for object_mask, missed in _objects_with_errors(truth, wrong, classes):
        kind = _kind_of(object_mask, missed, sample, prediction)
        # A whole object that is wrong is wrong at its boundary too.
        pixels[kind] += int(missed.sum() if kind != "scattered" else (missed & ~near).sum())
        if kind != "scattered":
            near &= ~missed
    pixels["near boundary"] = int(near.sum())
    pixels["scattered"] = total - sum(v for k, v in pixels.items() if k != "scattered")
    shares = {kind: count / total for kind, count in pixels.items()}
    return Diagnosis(max(shares, key=lambda k: shares[k]), shares, _worst_pair(truth, predicted, wrong, classes))


def _worst_pair(
    truth: NDArray[np.uint8], predicted: NDArray[np.uint8], wrong: Mask, classes: int
) -> tuple[int, int, float]:
    pairs = np.bincount(truth[wrong].astype(np.intp) * classes + predicted[wrong])
    worst = int(pairs.argmax())
    return worst // classes, worst % classes, float(pairs[worst] / wrong.sum())


def _objects_with_errors(truth: NDArray[np.uint8], wrong: Mask, classes: int) -> list[tuple[Mask, Mask]]:
    """The connected objects of the truth that hold wrong pixels, each with those."""
    found = []
    for label in np.unique(truth[wrong]):
        if label >= classes:
            continue
        objects, _ = ndimage.label(truth == label)
        for number in np.unique(objects[wrong & (truth == label)]):
            mask = objects == number
            found.append((mask, mask & wrong))
    return found


def _kind_of(mask: Mask, missed: Mask, sample: Sample, prediction: Prediction) -> str:
    area = int(mask.sum())
    if missed.sum() < (1 - MISSED) * area:
        return "scattered"
    instead = np.bincount(prediction.labels[missed])
    label, share = int(instead.argmax()), float(instead.max() / area)
    confidence = float(prediction.confidence[missed].mean())
    if share >= CONSISTENT and confidence >= CONFIDENT:
        return "label suspected"
    return "missed object" if label == _surroundings(mask, sample.labels) else "wrong class"


def _surroundings(mask: Mask, labels: NDArray[np.uint8]) -> int:
    """The most frequent label in a ring of three pixels around a mask."""
    ring = ndimage.binary_dilation(mask, iterations=3) & ~mask
    return int(np.bincount(labels[ring]).argmax()) if ring.any() else -1
