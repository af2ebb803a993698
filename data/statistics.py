"""What a split holds: pixels and images of each class, void, sizes."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segtool.card import ClassInfo
from segtool.data.base import SegmentationDataset

Progress = Callable[[int, int], None]
ClassWeights = Literal["none", "log", "median", "inverse"]


@dataclass
class Statistics:
    """What a split holds.

    Attributes:
        pixels: of each class, [C]; images: in how many images it occurs, [C].
        pixels_around: labelled pixels of those images, [C].
        void: pixels without a label.
        sizes: how many images have which (width, height).
    """

    classes: list[ClassInfo]
    pixels: NDArray[np.int64]
    images: NDArray[np.int64]
    pixels_around: NDArray[np.int64]
    void: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)

    @classmethod
    def of(cls, classes: list[ClassInfo]) -> "Statistics":
        """Statistics of nothing."""
        return cls(classes, *np.zeros((3, len(classes)), np.int64))

    def add(self, labels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Counts a mask uint8 [H,W]; what is no class is void. Returns the pixels of each of the 256 values."""
        values = np.bincount(labels.ravel(), minlength=256)
        pixels = values[: len(self.classes)]
        self.pixels += pixels
        self.images += pixels > 0
        self.pixels_around += pixels.sum() * (pixels > 0)
        self.void += labels.size - int(pixels.sum())
        self.sizes[labels.shape[1], labels.shape[0]] += 1
        return values

    @property
    def frequency(self) -> NDArray[np.float64]:
        """Share of each class among the labelled pixels, [C]."""
        return self.pixels / max(int(self.pixels.sum()), 1)

    @property
    def frequency_where_present(self) -> NDArray[np.float64]:
        """Share of each class among the labelled pixels of the images in which it occurs, [C]; 0 if in none."""
        return self.pixels / np.maximum(self.pixels_around, 1)


def statistics(dataset: SegmentationDataset, progress: Progress = lambda done, total: None) -> Statistics:
    """Counts the masks of a split."""
    found = Statistics.of(dataset.classes)
    for index in range(len(dataset)):
        found.add(dataset.load(index).labels)
        progress(index + 1, len(dataset))
    return found


def count_masks(infos: list[ClassInfo], masks: Iterable[NDArray[np.uint8]]) -> Statistics:
    """Counts masks uint8 [H,W]; what is no class is void."""
    found = Statistics.of(infos)
    for labels in masks:
        found.add(labels)
    return found


def class_weights(name: ClassWeights, found: Statistics) -> NDArray[np.float64]:
    """Weights of the classes, [C], with a mean of 1; one that never occurs weighs as much as the heaviest that does.

    Args:
        name: `none`: all 1. `log`: 1 / log(1.1 + f), after Paszke et al., "ENet" (2016), section 5.2, with a gentler
            constant. `inverse`: 1 / f. f is a class' share of all labelled pixels. `median`: median g / g, where g is
            its share of the labelled pixels of the images in which it occurs: Eigen and Fergus, "Predicting Depth,
            Surface Normals and Semantic Labels with a Common Multi-Scale Convolutional Architecture" (2015), 6.3.
        found: what the training masks hold.
    """
    present = found.pixels > 0
    if name == "none" or not present.any():
        return np.ones(len(present))
    if name == "log":
        weights = 1 / np.log(1.1 + found.frequency)
    else:
        frequency = found.frequency if name == "inverse" else found.frequency_where_present
        weights = np.divide(np.median(frequency[present]), frequency, out=np.zeros(len(present)), where=present)
        weights[~present] = weights.max()
    return weights / weights.mean()
