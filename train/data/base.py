"""What a dataset is, and how one is found by its name."""

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.card import ClassInfo, TrainedOn
from segtool.errors import SegtoolError
from segtool.train.suggest import unknown
from segtool.train.user_code import run_file


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
    # Of files that the split should have and that cannot even be opened as a pair.
    problems: Sequence[SegtoolError] = ()

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


def _registered(spec: str) -> str:
    """Runs the user's file that a spec begins with, so that its datasets register themselves; the rest of the spec."""
    file, separator, rest = spec.partition(".py:")
    if not separator:
        return spec
    run_file(Path(f"{file}.py"))
    return rest


def absolute_spec(spec: str) -> str:
    """A dataset spec that means the same in any folder."""
    *names, path = spec.split(":")
    names = [str(Path(name).resolve()) if name.endswith(".py") else name for name in names]
    return ":".join([*names, str(Path(path).resolve()) if names and Path(path).exists() else path])


def even_choice(count: int, limit: int | None) -> list[int]:
    """Indices of at most `limit` of `count` things, evenly spread; None: all."""
    chosen = min(limit or count, count)
    return [i * count // chosen for i in range(chosen)]


def dataset_names() -> list[str]:
    """The registered names."""
    return sorted(_OPENERS)


def open_dataset(spec: str, split: str, *, complete: bool = True) -> SegmentationDataset:
    """Opens a split of `name` or `name:path`, or of `file.py:name:path` where file.py registers `name`.

    Args:
        complete: whether images without a mask are an error; otherwise they are in `problems` alone.

    Raises:
        SegtoolError: unknown name, missing folder, a split without images, classes that cannot be told apart.
    """
    name, _, path = _registered(spec).partition(":")
    if name not in _OPENERS:
        raise unknown("dataset", name, dataset_names())
    dataset = _OPENERS[name](Path(path) if path else None, split)
    if complete and dataset.problems:
        others = len(dataset.problems) - 1
        first = dataset.problems[0]
        what = first.what + (f" (and {others} more: segtool data check {spec})" if others else "")
        raise SegtoolError(what, where=first.where, mend=first.mend)
    if len(dataset) == 0:
        raise SegtoolError(f"the {split} split is empty", where=spec, mend="add images to it")
    _check_classes(dataset.classes, dataset.ignore_index, spec)
    return dataset


def _check_classes(classes: Sequence[ClassInfo], ignore_index: int, where: object) -> None:
    """Refuses classes that masks, tables and files cannot tell apart."""
    for place, info in enumerate(classes):
        if info.id != place:
            raise SegtoolError(f"class {info.name} has the id {info.id}, and is number {place}", where=where)
    for name, count in Counter(c.name for c in classes).items():
        if count > 1:
            raise SegtoolError(f"{count} classes are called {name}", where=where, mend="give each its own name")
    if not len(classes) <= ignore_index <= 255:
        raise SegtoolError(
            f"ignore_index is {ignore_index}", where=where, mend=f"a number that is no class: {len(classes)}..255"
        )
