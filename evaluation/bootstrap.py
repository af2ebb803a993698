"""Confidence intervals over images, without keeping the images: each of R replicates counts every image a number of
times drawn from a Poisson distribution of mean 1 (Chamandy et al., "Estimating Uncertainty for Massive Data Streams",
2012). The draws depend on an image's index alone, so they are the same however images are spread over processes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.evaluation.scores import iou_of

REPLICATES = 1000
_BLOCK = 32  # images whose counts are added together


class Interval(NamedTuple):
    """95 % of the replicates lie between the two."""

    low: float
    high: float


class Bootstrap:
    """Replicates of the pixel counts from which mIoU is made, before and after the CRF.

    Args:
        classes: C.
        replicates: R.
    """

    def __init__(self, classes: int, replicates: int = REPLICATES) -> None:
        self._sums = np.zeros((2, 3, replicates, classes))  # before/after; true, predicted, both; whole numbers
        self._weights: list[NDArray[np.float64]] = []
        self._margins: list[NDArray[np.int64]] = []

    def add(self, index: int, before: NDArray[np.int64], after: NDArray[np.int64]) -> None:
        """Adds image `index`; its true, predicted and common pixels of each class are [3,C]."""
        draws = np.random.default_rng([20, index]).poisson(1.0, self._sums.shape[2])
        self._weights.append(draws.astype(np.float64))
        self._margins.append(np.stack([before, after]))
        if len(self._weights) == _BLOCK:
            self._add_block()

    def _add_block(self) -> None:
        """Adds the images that wait, as one matrix product. Its sums are whole numbers far below 2^53: exact."""
        if self._weights:
            weights, margins = np.stack(self._weights), np.stack(self._margins).astype(np.float64)
            self._sums += np.einsum("ir,isqc->sqrc", weights, margins, optimize=True)
            self._weights, self._margins = [], []

    def miou(self) -> tuple[Interval, Interval, Interval]:
        """Intervals of mIoU before and after the CRF, and of the difference."""
        before, after = self.replicates()
        return interval(before), interval(after), interval(after - before)

    def replicates(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """mIoU of each replicate before and after the CRF, [R]. Two evaluations of the same images have the same
        draws, so their replicates can be subtracted."""
        self._add_block()
        return self._mious(0), self._mious(1)

    def _mious(self, side: int) -> NDArray[np.float64]:
        iou = iou_of(*self._sums[side])
        counted = ~np.isnan(iou)
        return np.where(counted, iou, 0).sum(1) / np.maximum(counted.sum(1), 1)


def interval(values: NDArray[np.float64]) -> Interval:
    """The middle 95 % of replicates [R]."""
    return Interval(*np.percentile(values, [2.5, 97.5]).tolist())
