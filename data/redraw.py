"""Dealing a dataset's images to splits, once and for all: lists of names, and the lines in classes.yaml that say so."""

from collections.abc import Mapping
from pathlib import Path

import yaml

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
        SegtoolError: the dataset has no classes.yaml of the user's, one that says what the splits are or cannot be
            added to, or lists are there.
    """
    path = dataset.described_by
    if path is None:
        raise SegtoolError(f"the splits of {dataset.name} are its makers'", where=dataset.name)
    lists = {split: f"{FOLDER}/{split}.txt" for split in dealt}
    root = path.parent
    if path.is_file():
        description = read_description(path)
        root = description.root
        if "split" in description.given:
            raise SegtoolError("split: is there already", where=path, mend="remove it to deal anew")
        text = _with_lists(path, lists)
    else:
        text = description_text(dataset.classes, {"split": lists}, ignore_index=dataset.ignore_index)
    for name in lists.values():
        if (root / name).exists():
            raise SegtoolError("there is a list already", where=root / name, mend="remove it to deal anew")
    for split, places in dealt.items():
        names = [dataset.identifier(place) for place in places]
        write_text(root / lists[split], "".join(f"{name}\n" for name in names))
    write_text(path, text)
    return path


def _with_lists(path: Path, lists: Mapping[str, str]) -> str:
    """The text of a classes.yaml with the lists named at its end."""
    lines = "".join(f"  {scalar(split)}: {scalar(name)}\n" for split, name in lists.items())
    text = path.read_text(encoding="utf-8-sig").rstrip("\n") + f"\nsplit:\n{lines}"
    try:
        yaml.safe_load(text)
    except yaml.YAMLError as error:
        mend = "write each key in a line of its own, without braces around all"
        raise SegtoolError("split: cannot be added to the file", where=path, mend=mend) from error
    return text
