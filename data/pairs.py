"""Datasets that are pairs of files: what `folder`, `camvid`, `voc`, `cityscapes` and `ade20k` share."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from filecmp import cmp
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.card import ClassInfo
from segtool.data.base import Sample, SegmentationDataset
from segtool.data.checks.files import image_doubts
from segtool.data.checks.findings import Finding
from segtool.errors import SegtoolError
from segtool.formats import IMAGE_SUFFIXES
from segtool.images import list_images, read_image, read_label_map
from segtool.palette import voc_color
from segtool.sources import find

MOST_CLASSES = 255


class Pair(NamedTuple):
    """An image and its mask."""

    name: str
    image: Path
    mask: Path


class PairsDataset(SegmentationDataset):
    """Image files with mask files.

    Args:
        name, split, classes, ignore_index: see `SegmentationDataset`.
        pairs: those that are complete.
        problems: what is wrong with the others.
        doubts: about files that are left out.
        mapping: uint8 [256], the class id (or `ignore_index`) of each value of a mask; None if masks hold class ids.
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
        mapping: NDArray[np.uint8] | None = None,
    ) -> None:
        self.name, self.split, self.classes, self.ignore_index = name, split, classes, ignore_index
        self._pairs, self._mapping = pairs, mapping
        self.problems, self.doubts = problems, doubts

    def __len__(self) -> int:
        return len(self._pairs)

    def identifier(self, index: int) -> str:
        return self._pairs[index].name

    def load(self, index: int) -> Sample:
        _, image_path, mask_path = self._pairs[index]
        labels = read_label_map(mask_path)
        if self._mapping is not None:
            labels = self._mapping[labels]
        return Sample(read_image(image_path), labels)

    def source_of(self, index: int) -> object:
        return self._pairs[index].mask

    def stored_label(self, label: int) -> int:
        stored = [label] if self._mapping is None else np.flatnonzero(self._mapping == label)
        return int(stored[0]) if len(stored) else label

    def file_doubts(self, index: int) -> Iterator[Finding]:
        return image_doubts(self._pairs[index].image)


class Paired(NamedTuple):
    """What was found in two folders: complete pairs by name, what is wrong with others, what is left out."""

    pairs: list[Pair]
    problems: list[SegtoolError]
    doubts: list[Finding]


def paired_by_stem(images: Path, masks: Path) -> Paired:
    """The images of one folder with the masks of the same stem in another.

    Raises:
        SegtoolError: no such folder.
    """
    listed, found = list_images(images), list_images(masks)
    by_stem = {path.stem: path for path in found}
    lone = sorted(by_stem.keys() - {path.stem for path in listed})
    wanted = {path.stem: (path, by_stem.get(path.stem, masks / f"{path.stem}.png")) for path in listed}
    pairs, problems = complete_pairs(((name, *paths) for name, paths in wanted.items()), lone)
    problems += [*_ambiguous(listed), *_ambiguous(found)]
    doubts = [Finding("a mask has no image, and is left out", str(by_stem[stem])) for stem in lone]
    return Paired(pairs, problems, [*_not_read(images), *_not_read(masks), *doubts])


def complete_pairs(
    wanted: Iterable[tuple[str, Path, Path]], others: Sequence[str] = ()
) -> tuple[list[Pair], list[SegtoolError]]:
    """Those pairs whose files both exist and differ, and an error for each of the others.

    Args:
        others: stems of masks that belong to no image, sorted.
    """
    pairs, problems = [], []
    for pair in map(Pair._make, wanted):
        missing = [path for path in (pair.image, pair.mask) if not path.is_file()]
        if missing:
            what = "an image has no mask" if missing[0] == pair.mask else "a listed image is missing"
            near = _nearest(pair.mask.stem, others)
            mend = f"add {missing[0]}" + (f", or rename {near}{pair.mask.suffix}" if near else "")
            problems.append(SegtoolError(what, where=pair.name, mend=mend))
        elif cmp(pair.image, pair.mask, shallow=False):
            problems.append(SegtoolError("image and mask are the same file", where=pair.mask, mend="put a mask there"))
        else:
            pairs.append(pair)
    return pairs, problems


def _nearest(stem: str, others: Sequence[str]) -> str | None:
    """The first of the sorted `others` that begins as `stem` does, such as `street_mask`."""
    place = bisect_left(others, stem)
    return others[place] if place < len(others) and others[place].startswith(stem) else None


def _ambiguous(paths: Sequence[Path]) -> Iterator[SegtoolError]:
    count = Counter(path.stem for path in paths)
    for path in paths:
        if count[path.stem] > 1:
            what = f"{count[path.stem]} files have one stem, by which images and masks are paired"
            yield SegtoolError(what, where=path, mend="give each its own name, or remove the others")


def _not_read(folder: Path) -> Iterator[Finding]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            below = find(path).images
            what, mend = "images in folders below are left out", f"move them to {folder}"
            yield from (Finding(what, str(path / name), mend) for name in below)
        if path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES and not path.name.startswith("."):
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


def named_classes(names: Sequence[str], colors: Sequence[tuple[int, int, int]] | None = None) -> list[ClassInfo]:
    """Classes in order, in the colours of PASCAL VOC if none are given.

    Raises:
        SegtoolError: more than masks of 8 bits can hold beside void.
    """
    if len(names) > MOST_CLASSES:
        raise too_many_classes(len(names), "classes")
    colors = colors or [voc_color(i) for i in range(len(names))]
    return [ClassInfo(id=i, name=n, color=c) for i, (n, c) in enumerate(zip(names, colors, strict=True))]


def too_many_classes(count: int, where: object) -> SegtoolError:
    """The error for more classes than masks of 8 bits can hold beside void."""
    mend = f"masks have 8 bits: ids 0..{MOST_CLASSES - 1}, and 255 for void; merge classes, or make rare ones void"
    return SegtoolError(f"{count} classes, {MOST_CLASSES} are possible", where=where, mend=mend)
