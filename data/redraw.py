"""Dealing a dataset's images to splits, once and for all: lists of names, and the lines in classes.yaml that say so."""

from collections.abc import Mapping
from pathlib import Path

from segtool.data.base import SegmentationDataset
from segtool.data.description import read_description
from segtool.data.description_text import description_text, scalar
from segtool.data.splits import Member, SplitRule
from segtool.errors import SegtoolError
from segtool.files import write_text

FOLDER = "splits"


def deal(dataset: SegmentationDataset, shares: Mapping[str, float], by: str, seed: int) -> dict[str, list[int]]:
    """The images of each split that `shares` name, and of `train`, which gets what they leave.

    Raises:
        SegtoolError: there is nothing to deal, or too few groups.
    """
    rule = SplitRule.parsed({**shares, "by": by, "seed": seed}, [], "split")
    members = [
        Member(dataset.identifier(i), str(dataset.image_path(i) or dataset.identifier(i)), {})
        for i in range(len(dataset))
    ]
    return {split: rule.chosen(split, members, Path(), dataset.name).places for split in rule.names}


def write_lists(dataset: SegmentationDataset, dealt: Mapping[str, list[int]]) -> Path:
    """Writes splits/SPLIT.txt beside the dataset's classes.yaml, which then names them; returns its path.

    A classes.yaml that is not there, because an annotation tool knows the classes, is written.

    Raises:
        SegtoolError: the dataset has no classes.yaml of the user's, or one that says what the splits are.
    """
    path = dataset.described_by
    if path is None:
        raise SegtoolError(f"the splits of {dataset.name} are its makers'", where=dataset.name)
    lists = {split: f"{FOLDER}/{split}.txt" for split in dealt}
    if path.is_file():
        if "split" in read_description(path).given:
            raise SegtoolError("split: is there already", where=path, mend="remove it to deal anew")
        written = path.read_text(encoding="utf-8").rstrip("\n")
        text = f"{written}\nsplit:\n" + "".join(f"  {scalar(s)}: {scalar(p)}\n" for s, p in lists.items())
    else:
        text = description_text(dataset.classes, {"split": lists}, ignore_index=dataset.ignore_index)
    for split, places in dealt.items():
        names = [dataset.identifier(place) for place in places]
        write_text(path.parent / lists[split], "".join(f"{name}\n" for name in names))
    write_text(path, text)
    return path
