"""Where the images and masks of a folder lie: as the user says, or as the likeliest pairing of its files has it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from segtool.data.guess.families import Family, Pairing, pairings
from segtool.data.guess.paths import split_folders
from segtool.data.patterns import Match, Pattern
from segtool.errors import SegtoolError
from segtool.sources import find, said_of

_MOST_WAYS = 4  # that a message names


class Layout(NamedTuple):
    """Where files lie.

    Attributes:
        images, masks: patterns as classes.yaml has them.
        image_files, mask_files: relative paths.
        classes: what `{class}` stands for, sorted.
        splits: the folder of each split, where `{split}` stands for it.
        remarks: what the user should know of it, in lines.
    """

    images: str
    masks: str
    image_files: list[str]
    mask_files: list[str]
    classes: list[str]
    splits: dict[str, str]
    remarks: list[str]


def layout_of(root: Path, images: str | None, masks: str | None) -> Layout:
    """The layout of a folder.

    Args:
        images, masks: patterns, where the user knows better.

    Raises:
        SegtoolError: there is none, or there are several.
    """
    if images is not None and masks is not None:
        return _as_said(root, Pattern(images, "--images"), Pattern(masks, "--masks"))
    found = find(root)
    if not found.images:
        raise SegtoolError("no images", where=root, mend="and no annotations of a tool that is known")
    ways = pairings(found.images)
    wanted = [p for p in ways if images in (None, p.images.pattern) and masks in (None, p.masks.pattern)]
    if len(wanted) == 1:
        return _with_splits(wanted[0])
    if wanted:
        raise _several(wanted, root)
    if ways and (images or masks):
        raise SegtoolError("one pattern is not enough", where=root, mend="say both: --images PATTERN --masks PATTERN")
    others = f"; there is {said_of(found.others)}, of no format that is known" if found.others else ""
    mend = f"masks have their image's name, in a folder of their own or with a suffix{others}; see docs/data.md"
    raise SegtoolError("no masks belong to the images", where=root, mend=mend)


def has_masks(root: Path) -> bool:
    """Whether images and masks can be paired, of a folder that an annotation tool has written to."""
    return any("{class}" in p.masks.pattern or "mask" in p.masks.pattern.lower() for p in pairings(find(root).images))


def _several(found: Sequence[Pairing], root: Path) -> SegtoolError:
    ways = sorted({(p.images.pattern, p.masks.pattern) for p in found})[:_MOST_WAYS]
    same = len({images for images, _ in ways}) == 1
    named = ", ".join(masks if same else f"{images} with {masks}" for images, masks in ways)
    options = f"--images '{ways[0][0]}' --masks '{ways[0][1]}'"
    return SegtoolError(f"{len(ways)} ways to read it: {named}", where=root, mend=f"say which: {options}")


def _as_said(root: Path, images: Pattern, masks: Pattern) -> Layout:
    found = [pattern.find(root, {}).found for pattern in (images, masks)]
    mask_paths = {match.path for match in found[1]}
    found[0] = [match for match in found[0] if match.path not in mask_paths]
    for pattern, matches in zip((images, masks), found, strict=True):
        if not matches:
            raise SegtoolError(f"no file is as {pattern.text} says", where=root, mend="such as images/{split}/{stem}")
    classes = sorted({match.fields["class"] for match in found[1] if "class" in match.fields})
    both = {match.fields.get("split", "") for match in found[0]} & {match.fields.get("split", "") for match in found[1]}
    splits = {split: split for split in sorted(both) if split}
    known = split_folders(f"{name}/x" for name in splits)
    image_files, mask_files = (_relative(matches, root, both) for matches in found)
    return Layout(images.text, masks.text, image_files, mask_files, classes, known or splits, [])


def _relative(matches: Sequence[Match], root: Path, splits: set[str]) -> list[str]:
    found = (match for match in matches if match.fields.get("split", "") in splits)
    return [match.path.relative_to(root).as_posix() for match in found]


def _with_splits(pairing: Pairing) -> Layout:
    """The layout of a pairing. Without a split to validate on, training images alone, from which one will be drawn."""
    images, masks = pairing
    classes = sorted({key.group for files in masks.members.values() for key in files}) if masks.each_class else []
    remarks = _remarks(images)
    if "{split}" not in images.folder:
        return Layout(images.pattern, masks.pattern, images.paths, masks.paths, classes, {}, remarks)
    folders = split_folders(images.paths)
    labelled = {split: folder for split, folder in folders.items() if any(key[0] == split for key in masks.members)}
    if unlabelled := folders.keys() - labelled.keys():
        remarks.append(f"{', '.join(sorted(unlabelled))}: left out, it has no masks")
    if "val" in labelled and "train" in labelled:
        return _layout(images, masks, labelled, classes, remarks)
    only = "train" if "train" in labelled else next(iter(labelled))
    others = sorted(labelled.keys() - {only})
    left = f"; {', '.join(others)} is left out" if others else ""
    remarks.append(f"there is no val split: it is drawn from {folders[only]}{left}")
    return _layout(images, masks, {only: labelled[only]}, classes, remarks, literal=labelled[only])


def _layout(
    images: Family,
    masks: Family,
    splits: dict[str, str],
    classes: list[str],
    remarks: list[str],
    literal: str | None = None,
) -> Layout:
    patterns = [family.pattern for family in (images, masks)]
    if literal is not None:
        patterns = [pattern.replace("{split}", literal) for pattern in patterns]
    files = [
        sorted(file.path for key, members in family.members.items() if key[0] in splits for file in members)
        for family in (images, masks)
    ]
    return Layout(patterns[0], patterns[1], files[0], files[1], classes, {} if literal else splits, remarks)


def _remarks(images: Family) -> list[str]:
    """What is said of folders that are taken for groups of images."""
    groups = sorted({group for _, group, _ in images.members if group})
    if not 0 < len(groups) <= _MOST_WAYS or all(re.fullmatch(r"[0-9a-f]{8,}", group) for group in groups):
        return []
    named = ", ".join(groups)
    return [f"{named}: taken for groups of images; if they are splits, say so: split: {{train: {groups[0]}, ...}}"]
