"""Looking at a dataset before training on it: problems, statistics, a contact sheet."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segtool.card import ClassInfo
from segtool.errors import SegtoolError
from segtool.images import RGB, overlay, scaled_to_width
from segtool.train.data.base import SegmentationDataset, even_choice

Progress = Callable[[int, int], None]


def find_problems(
    dataset: SegmentationDataset, progress: Progress = lambda done, total: None
) -> Iterator[SegtoolError]:
    """Reads every image and mask: all that is wrong with them, not only the first thing."""
    yield from dataset.problems
    for index in range(len(dataset)):
        try:
            dataset.load(index)
        except SegtoolError as error:
            yield error
        progress(index + 1, len(dataset))


def check_all(*datasets: SegmentationDataset) -> None:
    """Refuses datasets with problems.

    Raises:
        SegtoolError: the first problem, and how many there are.
    """
    problems = [problem for dataset in datasets for problem in find_problems(dataset)]
    if problems:
        more = f" (and {len(problems) - 1} more problems; segtool data check lists them)" if len(problems) > 1 else ""
        raise SegtoolError(problems[0].what + more, where=problems[0].where, mend=problems[0].mend)


@dataclass
class Statistics:
    """What a split holds.

    Attributes:
        pixels: of each class, [C]; images: in how many images it occurs, [C].
        void: pixels without a label.
        sizes: how many images have which (width, height).
    """

    classes: list[ClassInfo]
    pixels: NDArray[np.int64]
    images: NDArray[np.int64]
    void: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)

    @property
    def frequency(self) -> NDArray[np.float64]:
        """Share of each class among the labelled pixels, [C]."""
        return self.pixels / max(int(self.pixels.sum()), 1)


def statistics(
    dataset: SegmentationDataset, progress: Progress = lambda done, total: None, limit: int | None = None
) -> Statistics:
    """Counts the masks of a split: all, or an even choice of at most `limit`."""
    classes = len(dataset.classes)
    found = Statistics(dataset.classes, np.zeros(classes, np.int64), np.zeros(classes, np.int64))
    chosen = even_choice(len(dataset), limit)
    for done, index in enumerate(chosen):
        labels = dataset.load(index).labels
        pixels = np.bincount(labels.ravel(), minlength=256)[:classes]
        found.pixels += pixels
        found.images += pixels > 0
        found.void += labels.size - int(pixels.sum())
        found.sizes[labels.shape[1], labels.shape[0]] += 1
        progress(done + 1, len(chosen))
    return found


def contact_sheet(dataset: SegmentationDataset, count: int, columns: int = 4, width: int = 320) -> RGB:
    """An even choice of images, each above its labels, in a grid: uint8 [H,W,3]."""
    colors = [c.color for c in dataset.classes]
    tiles = []
    for index in even_choice(len(dataset), count):
        sample = dataset.load(index)
        labelled = overlay(sample.image, sample.labels, colors, 0.65)
        tiles.append(scaled_to_width(np.concatenate([sample.image, labelled]), width))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    sheet = np.full((sum(_tallest(row) for row in rows), columns * width, 3), 255, np.uint8)
    top = 0
    for row in rows:
        for column, tile in enumerate(row):
            sheet[top : top + len(tile), column * width : (column + 1) * width] = tile
        top += _tallest(row)
    return sheet


def _tallest(tiles: list[RGB]) -> int:
    return max(len(tile) for tile in tiles)
