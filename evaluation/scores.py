"""Scores from counts, all 0..1. A class that occurs in neither truth nor prediction has NaN and counts in no mean."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segtool.evaluation.counts import CONFIDENCE_UNIT, Counts

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassScores:
    """Scores of each class, [C]. Precision has NaN where nothing was predicted, recall where nothing is true."""

    iou: Floats
    precision: Floats
    recall: Floats
    f1: Floats  # of a class this is Dice's coefficient too
    boundary_f: Floats  # [K,C]
    trimap_iou: Floats  # [K,C]


@dataclass(frozen=True)
class SetScores:
    """Scores of a set of images, from the sums of their counts: `boundary_f` too is that of all boundaries together."""

    miou: float
    frequency_weighted_iou: float
    pixel_accuracy: float
    mean_class_accuracy: float
    mean_f1: float
    boundary_f: tuple[float, ...]  # [K]
    trimap_iou: tuple[float, ...]  # [K]
    calibration_error: float


def iou_of(true: Floats, predicted: Floats, both: Floats) -> Floats:
    """Intersection over union; NaN where there is neither."""
    return _ratio(both, true + predicted - both)


def class_iou(counts: Counts) -> Floats:
    """IoU of each class, [C]."""
    both, true, predicted = _margins(counts)
    return iou_of(true, predicted, both)


def class_scores(counts: Counts) -> ClassScores:
    """Scores of each class."""
    both, true, predicted = _margins(counts)
    return ClassScores(
        iou=class_iou(counts),
        precision=_ratio(both, predicted),
        recall=_ratio(both, true),
        f1=_ratio(2 * both, true + predicted),
        boundary_f=boundary_f(counts.boundary),
        trimap_iou=iou_of(*counts.bands.transpose(1, 0, 2).astype(float)),
    )


def set_scores(counts: Counts) -> SetScores:
    """Scores of the whole; 0 where nothing is labelled."""
    both, true, _ = _margins(counts)
    each = class_scores(counts)
    total = max(true.sum(), 1)
    return SetScores(
        miou=mean(each.iou),
        frequency_weighted_iou=float(np.nansum(true * each.iou) / total),
        pixel_accuracy=float(both.sum() / total),
        mean_class_accuracy=mean(each.recall),
        mean_f1=mean(each.f1),
        boundary_f=tuple(mean(row) for row in each.boundary_f),
        trimap_iou=tuple(mean(row) for row in each.trimap_iou),
        calibration_error=calibration_error(counts),
    )


def boundary_f(boundary: NDArray[np.int64]) -> Floats:
    """F of boundary counts [...,4,C]; NaN where neither map has a boundary of the class."""
    predicted, predicted_near, true, true_near = np.moveaxis(boundary, -2, 0).astype(float)
    precision, recall = (np.nan_to_num(_ratio(*pair)) for pair in ((predicted_near, predicted), (true_near, true)))
    f = np.nan_to_num(_ratio(2 * precision * recall, precision + recall))
    return np.where(predicted + true > 0, f, np.nan)


class MeanOverImages:
    """Mean over images of scores [K], of which an image may lack some."""

    def __init__(self, scores: int) -> None:
        self._sums, self._images = np.zeros(scores), np.zeros(scores, np.int64)

    def add(self, scores: Sequence[float]) -> None:
        """The scores [K] of one image; NaN where there are none."""
        there = ~np.isnan(scores)
        self._sums += np.where(there, scores, 0)
        self._images += there

    @property
    def values(self) -> tuple[float, ...]:
        """[K]; 0 where no image has a score."""
        return tuple(float(mean) for mean in self._sums / np.maximum(self._images, 1))


def image_boundary_f(counts: Counts) -> list[float]:
    """F of an image at each tolerance, [K], the mean over the classes that have a boundary in it; NaN if none has."""
    return [mean(row) if np.isfinite(row).any() else float("nan") for row in boundary_f(counts.boundary)]


def calibration_error(counts: Counts) -> float:
    """Expected calibration error of the winning class' probability: Guo et al., "On Calibration of Modern Neural
    Networks" (ICML 2017); 0 where nothing was counted."""
    pixels, right, units = counts.calibration.astype(float)
    return float(np.abs(right - units / CONFIDENCE_UNIT).sum() / max(pixels.sum(), 1))


def mean(values: Floats) -> float:
    """Mean over the classes that occur; 0 if none does."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else 0.0


def _margins(counts: Counts) -> tuple[Floats, Floats, Floats]:
    confusion = counts.confusion.astype(float)
    return confusion.diagonal(), confusion.sum(1), confusion.sum(0)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.full(np.shape(denominator), np.nan), where=denominator > 0)
