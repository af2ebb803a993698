"""Datasets that are pairs of files: what `folder`, `camvid`, `voc`, `cityscapes` and `ade20k` share."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.card import ClassInfo
from segtool.errors import SegtoolError
from segtool.images import list_images, read_image, read_label_map
from segtool.palette import voc_color
from segtool.train.data.base import Sample, SegmentationDataset, check_sample


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
        mapping: uint8 [256], the class id (or `ignore_index`) of each value of a mask; None if masks hold class ids.
    """

    def __init__(
        self,
        name: str,
        split: str,
        classes: list[ClassInfo],
        pairs: Sequence[Pair],
        problems: Sequence[SegtoolError] = (),
        *,
        ignore_index: int = 255,
        mapping: NDArray[np.uint8] | None = None,
    ) -> None:
        self.name, self.split, self.classes, self.ignore_index = name, split, classes, ignore_index
        self._pairs, self._mapping = pairs, mapping
        self.problems = problems

    def __len__(self) -> int:
        return len(self._pairs)

    def identifier(self, index: int) -> str:
        return self._pairs[index].name

    def load(self, index: int) -> Sample:
        _, image_path, mask_path = self._pairs[index]
        labels = read_label_map(mask_path)
        if self._mapping is not None:
            labels = self._mapping[labels]
        return check_sample(Sample(read_image(image_path), labels), len(self.classes), self.ignore_index, mask_path)


def paired_by_stem(images: Path, masks: Path) -> tuple[list[Pair], list[SegtoolError]]:
    """The images of one folder with the masks of the same stem in another.

    Returns:
        Complete pairs by name, and an error for each image without a mask.

    Raises:
        SegtoolError: no such folder.
    """
    found = {path.stem: path for path in list_images(masks)}
    wanted = {path.stem: (path, found.get(path.stem, masks / f"{path.stem}.png")) for path in list_images(images)}
    return complete_pairs((name, *paths) for name, paths in wanted.items())


def complete_pairs(wanted: Iterable[tuple[str, Path, Path]]) -> tuple[list[Pair], list[SegtoolError]]:
    """Those pairs whose files both exist, and an error for each of the others."""
    pairs, problems = [], []
    for pair in map(Pair._make, wanted):
        missing = [path for path in (pair.image, pair.mask) if not path.is_file()]
        if missing:
            what = "an image has no mask" if missing[0] == pair.mask else "a listed image is missing"
            problems.append(SegtoolError(what, where=pair.name, mend=f"add {missing[0]}"))
        else:
            pairs.append(pair)
    return pairs, problems


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
    """Classes in order, in the colours of PASCAL VOC if none are given."""
    colors = colors or [voc_color(i) for i in range(len(names))]
    return [ClassInfo(id=i, name=n, color=c) for i, (n, c) in enumerate(zip(names, colors, strict=True))]
