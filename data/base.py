"""What a dataset is."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.card import ClassInfo, TrainedOn
from segtool.data.checks.findings import Finding
from segtool.errors import SegtoolError
from segtool.readers import PICTURES, Parted, Read, Reader


class Sample(NamedTuple):
    """image uint8 [H,W,3] RGB, or where a dataset reads bands uint8, uint16 or float32 [H,W,B]; labels uint8 [H,W],
    class ids or the ignore index."""

    image: NDArray[Any]
    labels: NDArray[np.uint8]

    def part(self, rows: slice, columns: slice) -> "Sample":
        """A part of it, without a copy."""
        return Sample(self.image[rows, columns], self.labels[rows, columns])


class SegmentationDataset(ABC):
    """A split of a dataset.

    Attributes:
        name: the registered name; split: "train", "val", ...
        classes: in the order of their ids, which count from 0.
        ignore_index: the label of void pixels, which count neither in losses nor in scores.
    """

    name: str
    split: str
    classes: list[ClassInfo]
    ignore_index: int = 255
    # How image files are read: as pictures, unless a classes.yaml or whoever opens the dataset says which bands.
    reader: Reader = PICTURES
    # Of files that the split should have and that cannot even be opened as a pair.
    problems: Sequence[SegtoolError] = ()
    # The classes.yaml that says more of the dataset, or would if it were there; None: nothing can.
    described_by: Path | None = None
    # Of files that are left out, and may not have been meant to be.
    doubts: Sequence[Finding] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def identifier(self, index: int) -> str:
        """A stable name for image `index`, such as its file's stem."""

    @abstractmethod
    def load(self, index: int) -> Sample:
        """Reads one image with its labels; raises SegtoolError if they are unreadable or do not fit."""

    def parted(self, index: int) -> Parted | None:
        """The size of image `index`, where `load_part` decodes less than `load`."""
        return None

    def load_part(self, index: int, rows: slice, columns: slice, shrink: int = 1) -> Sample:
        """A part of what `load` gives.

        Args:
            rows, columns: of the image, multiples of `shrink` where they begin.
            shrink: 1, or for an image that shrinks 2, 4 or 8; it may be so many times smaller, but not its labels.
        """
        return self.load(index).part(rows, columns)

    def source_of(self, index: int) -> object:
        """What errors about the labels of image `index` name."""
        return self.identifier(index)

    def image_path(self, index: int) -> Path | None:
        """The file that holds image `index` as `load` gives it, where there is one."""
        return None

    def stored_label(self, label: int) -> int:
        """The value in the files that became `label`; another one if the dataset numbers its classes anew."""
        return label

    def file_doubts(self, index: int) -> Iterator[Finding]:
        """What looks wrong with the files of image `index` and can no longer be seen in what `load` gives."""
        yield from ()

    def as_shown(self, sample: Sample) -> Sample:
        """A sample with its image as a picture, uint8 [H,W,3]."""
        return sample._replace(image=self.reader.picture(sample.image))

    def record(self) -> TrainedOn:
        """What the model card says of this split."""
        names = "\n".join(sorted(self.identifier(i) for i in range(len(self))))
        digest = hashlib.sha256(names.encode()).hexdigest()
        return TrainedOn(dataset=self.name, split=self.split, image_count=len(self), fingerprint=digest)


class DerivedDataset(SegmentationDataset):
    """The images of another dataset; what is done to them is up to `load`."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self._dataset = dataset
        self.name, self.split, self.classes = dataset.name, dataset.split, dataset.classes
        self.ignore_index, self.problems, self.doubts = dataset.ignore_index, dataset.problems, dataset.doubts
        self.described_by = dataset.described_by

    @property
    def reader(self) -> Reader:  # type: ignore[override]  # whoever sets it sets that of the other dataset
        return self._dataset.reader

    @reader.setter
    def reader(self, reader: Reader) -> None:
        self._dataset.reader = reader

    def __len__(self) -> int:
        return len(self._dataset)

    def identifier(self, index: int) -> str:
        return self._dataset.identifier(index)

    def source_of(self, index: int) -> object:
        return self._dataset.source_of(index)

    def stored_label(self, label: int) -> int:
        return self._dataset.stored_label(label)

    def file_doubts(self, index: int) -> Iterator[Finding]:
        return self._dataset.file_doubts(index)


def with_void(read: Read, labels: NDArray[np.uint8], ignore_index: int) -> Sample:
    """An image with its labels, void where it has no data."""
    if read.missing is not None and read.missing.shape == labels.shape:
        labels = np.where(read.missing, np.uint8(ignore_index), labels)
    return Sample(read.values, labels)


def even_choice(count: int, limit: int | None) -> list[int]:
    """Indices of at most `limit` of `count` things, evenly spread; None: all."""
    chosen = min(limit or count, count)
    return [i * count // chosen for i in range(chosen)]
