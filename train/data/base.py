"""What a dataset is, and how one is found by its name."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.card import ClassInfo, TrainedOn
from segtool.errors import SegtoolError
from segtool.train.suggest import unknown


class Sample(NamedTuple):
    """image uint8 [H,W,3] RGB; labels uint8 [H,W], class ids or the ignore index."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]


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

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def identifier(self, index: int) -> str:
        """A stable name for image `index`, such as its file's stem."""

    @abstractmethod
    def load(self, index: int) -> Sample:
        """Reads one image with its labels; raises SegtoolError if they are unreadable or do not fit."""

    def record(self) -> TrainedOn:
        """What the model card says of this split."""
        names = "\n".join(sorted(self.identifier(i) for i in range(len(self))))
        digest = hashlib.sha256(names.encode()).hexdigest()
        return TrainedOn(dataset=self.name, split=self.split, image_count=len(self), fingerprint=digest)


def check_sample(sample: Sample, class_count: int, ignore_index: int, where: object) -> Sample:
    """Refuses a mask of another size than its image, and labels outside the classes."""
    if sample.image.shape[:2] != sample.labels.shape:
        (height, width), (mask_height, mask_width) = sample.image.shape[:2], sample.labels.shape
        raise SegtoolError(
            f"mask of {mask_width}x{mask_height} for an image of {width}x{height}",
            where=where,
            mend="masks must have their image's size",
        )
    present = np.unique(sample.labels)
    outside = [int(v) for v in present if v >= class_count and v != ignore_index]
    if outside:
        raise SegtoolError(
            f"label {outside[0]} in a mask; classes are 0..{class_count - 1}, void is {ignore_index}",
            where=where,
            mend="correct the mask, or add the class to classes.yaml",
        )
    return sample


Opener = Callable[[Path | None, str], SegmentationDataset]
_OPENERS: dict[str, Opener] = {}


def register_dataset(name: str) -> Callable[[Opener], Opener]:
    """Registers a function or class (path or None, split) -> SegmentationDataset under `name`."""

    def add(opener: Opener) -> Opener:
        _OPENERS[name] = opener
        return opener

    return add


def dataset_names() -> list[str]:
    """The registered names."""
    return sorted(_OPENERS)


def open_dataset(spec: str, split: str) -> SegmentationDataset:
    """Opens a split of `name` or `name:path`.

    Raises:
        SegtoolError: unknown name, missing folder, or a split without images.
    """
    name, _, path = spec.partition(":")
    if name not in _OPENERS:
        raise unknown("dataset", name, dataset_names())
    dataset = _OPENERS[name](Path(path) if path else None, split)
    if len(dataset) == 0:
        raise SegtoolError(f"the {split} split is empty", where=spec, mend="add images to it")
    return dataset
