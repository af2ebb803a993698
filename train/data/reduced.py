"""A dataset at a fraction of its resolution."""

import numpy as np
from PIL import Image

from segtool.images import resized
from segtool.train.data.base import Sample, SegmentationDataset


class Reduced(SegmentationDataset):
    """Another dataset, each side divided by `factor`: images by averaging, labels by the pixel in the middle."""

    def __init__(self, dataset: SegmentationDataset, name: str, factor: int) -> None:
        self._dataset, self._factor = dataset, factor
        self.name, self.split = name, dataset.split
        self.classes, self.ignore_index, self.problems = dataset.classes, dataset.ignore_index, dataset.problems

    def __len__(self) -> int:
        return len(self._dataset)

    def identifier(self, index: int) -> str:
        return self._dataset.identifier(index)

    def load(self, index: int) -> Sample:
        image, labels = self._dataset.load(index)
        height, width = labels.shape
        size = max(1, width // self._factor), max(1, height // self._factor)
        small = Image.fromarray(image).resize(size, Image.Resampling.BOX)
        return Sample(np.array(small), resized(labels, size[1], size[0], labels=True))
