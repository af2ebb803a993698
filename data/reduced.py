"""A dataset at a fraction of its resolution."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segtool.data.base import DerivedDataset, Sample, SegmentationDataset
from segtool.data.checks.arrays import Checked


class Reduced(DerivedDataset):
    """Another dataset, each side divided by `factor`: images by averaging, labels by the pixel in the middle."""

    def __init__(self, dataset: SegmentationDataset, name: str, factor: int) -> None:
        super().__init__(Checked(dataset))  # once reduced, an image fits a mask of another size
        self.name, self._factor = name, factor

    def load(self, index: int) -> Sample:
        image, labels = self._dataset.load(index)
        height, width = labels.shape
        size = max(1, width // self._factor), max(1, height // self._factor)
        small = Image.fromarray(image).resize(size, Image.Resampling.BOX)
        return Sample(np.array(small), middle_pixels(labels, size[1], size[0]))


def middle_pixels(labels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The label in the middle of each pixel of a smaller picture.

    With an even factor four labels are equally near. Rows and columns take turns, so that borders lie where they do in
    the image: the same choice everywhere would move all of them by half a pixel of the large one.
    """
    row, column = np.arange(height)[:, None], np.arange(width)[None, :]
    rows = _nearest((row + 0.5) * labels.shape[0] / height, column % 2 == 0)
    columns = _nearest((column + 0.5) * labels.shape[1] / width, row % 2 == 0)
    return labels[rows, columns]


def _nearest(position: NDArray[np.float64], first: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The pixel that a position (of pixel edges) lies in; on an edge the one before it where `first`."""
    return np.where(first, np.ceil(position) - 1, np.floor(position)).astype(np.int64)
