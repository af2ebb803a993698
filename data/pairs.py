"""Datasets that are image files with mask files: what `folder`, `camvid`, `voc`, `cityscapes` and `ade20k` share."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from filecmp import cmp
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.card import ClassInfo
from segtool.data.base import Sample, SegmentationDataset, with_void
from segtool.data.checks.files import image_doubts
from segtool.data.checks.findings import Finding
from segtool.data.label_values import LabelValues, binary
from segtool.errors import SegtoolError
from segtool.formats import IMAGE_SUFFIXES
from segtool.images import opened_image
from segtool.readers import Parted
from segtool.sources import find


class Layer(NamedTuple):
    """A binary mask, and the class id (or ignore index) of what it covers."""

    path: Path
    label: int


class Pair(NamedTuple):
    """An image and its mask; or, where each class has a mask of its own, its masks in the order of their classes."""

    name: str
    image: Path
    mask: Path
    layers: tuple[Layer, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that hold labels."""
        return tuple(layer.path for layer in self.layers) or (self.mask,)


class PairsDataset(SegmentationDataset):
    """Image files with mask files.

    Args:
        name, split, classes, ignore_index: see `SegmentationDataset`.
        pairs: those that are complete.
        problems: what is wrong with the others.
        doubts: about files that are left out.
        values: what masks hold.
        elsewhere: what pixels are that no mask of a class covers.
    """

    def __init__(
        self,
        name: str,
        split: str,
        classes: list[ClassInfo],
        pairs: Sequence[Pair],
        problems: Sequence[SegtoolError] = (),
        doubts: Sequence[Finding] = (),
        *,
        ignore_index: int = 255,
        values: LabelValues | None = None,
        elsewhere: int = 255,
    ) -> None:
        self.name, self.split, self.classes, self.ignore_index = name, split, classes, ignore_index
        self._pairs, self._values, self._elsewhere = pairs, values or LabelValues(), elsewhere
        self.problems, self.doubts = problems, doubts

    def __len__(self) -> int:
        return len(self._pairs)

    def identifier(self, index: int) -> str:
        return self._pairs[index].name

    def image_path(self, index: int) -> Path:
        return self._pairs[index].image

    def load(self, index: int) -> Sample:
        pair = self._pairs[index]
        labels = _stacked(pair.layers, self._elsewhere) if pair.layers else self._values.read(pair.mask)
        return with_void(self.reader.open(pair.image), labels, self.ignore_index)

    def parted(self, index: int) -> Parted | None:
        pair = self._pairs[index]
        return None if pair.layers else self.reader.parted(pair.image)

    def load_part(self, index: int, rows: slice, columns: slice, shrink: int = 1) -> Sample:
        pair, part = self._pairs[index], (rows, columns)
        labels = self._values.read_part(pair.mask, part)
        return with_void(self.reader.open_part(pair.image, part, shrink), labels, self.ignore_index)

    def source_of(self, index: int) -> object:
        return self._pairs[index].files[0]

    def stored_label(self, label: int) -> int:
        return self._values.stored(label)

    def file_doubts(self, index: int) -> Iterator[Finding]:
        return image_doubts(self._pairs[index].image) if self.reader.pictures else iter(())


def _stacked(layers: Sequence[Layer], elsewhere: int) -> NDArray[np.uint8]:
    """Binary masks over each other: the last one counts where several cover a pixel."""
    labels: NDArray[np.uint8] | None = None
    for path, label in layers:
        with opened_image(path) as image:
            covered = binary(image, path)
        if labels is None:
            labels = np.full(covered.shape, elsewhere, np.uint8)
        if covered.shape != labels.shape:
            sizes = " and ".join(f"{height}x{width}" for height, width in (labels.shape, covered.shape))
            raise SegtoolError(f"masks of one image have the sizes {sizes}", where=path, mend="give them its size")
        labels[covered] = label
    assert labels is not None  # there is a layer
    return labels


class Paired(NamedTuple):
    """Complete pairs, what is wrong with others, what is left out."""

    pairs: list[Pair]
    problems: list[SegtoolError]
    doubts: list[Finding]


def complete_pairs(wanted: Sequence[Pair], others: Sequence[str] = ()) -> tuple[list[Pair], list[SegtoolError]]:
    """Those pairs whose files exist and differ, and an error for each of the others.

    Args:
        others: stems of masks that belong to no image, sorted.
    """
    pairs, problems = [], []
    for pair in wanted:
        missing = next((path for path in (pair.image, *pair.files) if not path.is_file()), None)
        if missing is not None:
            what = "a listed image is missing" if missing == pair.image else "an image has no mask"
            near = _nearest(pair.mask.stem, others)
            mend = f"add {missing}" + (f", or rename {near}{pair.mask.suffix}" if near else "")
            problems.append(SegtoolError(what, where=pair.name, mend=mend))
        elif any(cmp(pair.image, path, shallow=False) for path in pair.files):
            where = pair.files[0]
            problems.append(SegtoolError("image and mask are the same file", where=where, mend="put a mask there"))
        else:
            pairs.append(pair)
    return pairs, problems


def _nearest(stem: str, others: Sequence[str]) -> str | None:
    """The first of the sorted `others` that begins as `stem` does, such as `street_mask`."""
    place = bisect_left(others, stem)
    return others[place] if place < len(others) and others[place].startswith(stem) else None


def ambiguous(found: Mapping[object, Sequence[Path]]) -> Iterator[SegtoolError]:
    """An error for each file that shares its key with another one."""
    for paths in found.values():
        for path in paths if len(paths) > 1 else ():
            what = f"{len(paths)} files have one stem, by which images and masks are paired"
            yield SegtoolError(what, where=path, mend="give each its own name, or remove the others")


def not_read(paths: Sequence[Path]) -> Iterator[Finding]:
    """Doubts about what lies beside images or masks."""
    for path in paths:
        if path.is_dir():
            below = find(path).images
            what, mend = "images in folders below are left out", f"move them to {path.parent}"
            yield from (Finding(what, str(path / name), mend) for name in below)
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            mend = f"what is read ends in {', '.join(IMAGE_SUFFIXES)}"
            yield Finding(f"files that end in {path.suffix or 'nothing'} are left out", str(path), mend)


def require_folder(root: Path | None, name: str, *parts: str) -> Path:
    """The folder `root` with `parts` below it.

    Raises:
        SegtoolError: no path was given, or there is no such folder.
    """
    if root is None:
        raise SegtoolError("a path is needed", where=name, mend=f"--data {name}:PATH")
    folder = root.joinpath(*parts)
    if not folder.is_dir():
        mend = f"{name} has {'/'.join(parts)} in its folder" if parts else None
        raise SegtoolError("no such folder", where=folder, mend=mend)
    return folder
