"""What folders' names say: split, group, image or mask."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

_SPLITS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tst"),
}
MASKS = (
    "mask", "masks", "label", "labels", "annotation", "annotations", "annot", "annots", "gt", "seg", "segmentation",
    "segmentations", "groundtruth", "truth", "target", "targets", "labelids", "labelmap", "matte", "y",
)  # fmt: skip
IMAGES = ("image", "images", "img", "imgs", "photo", "photos", "rgb", "input", "inputs", "jpegimages", "picture", "x")
_WORD = re.compile(r"[a-z]+|[0-9]+")


class File(NamedTuple):
    """A file below a dataset's folder.

    Attributes:
        path: relative, with slashes.
        folder: its folder, with `{split}` for what names the split and `{group}` for what differs between many folders
            that are otherwise alike.
        split: train, val or test; empty if no folder says so.
        group: what `{group}` stands for; empty if there is none.
    """

    path: str
    folder: str
    split: str
    group: str

    @property
    def stem(self) -> str:
        """Its name without the suffix."""
        return PurePosixPath(self.path).stem


class _Folder(NamedTuple):
    parts: list[str]
    split: str


def is_word(text: str, words: Sequence[str]) -> bool:
    """Whether one of the words is in a name such as train_Masks2."""
    separated = re.sub(r"([a-z])([A-Z])", r"\1 \2", text)
    return any(word in words for t in (text, separated) for word in _WORD.findall(t.lower()))


def sorted_out(paths: Iterable[str]) -> list[File]:
    """The files with what their folders say."""
    paths = [*paths]
    folders = {parent: _without_split(parent) for parent in {_parent(path) for path in paths}}
    patterns = _grouped({parent: folder.parts for parent, folder in folders.items()})
    files = []
    for path in paths:
        parent, pattern = _parent(path), patterns[_parent(path)]
        place = pattern.index("{group}") if "{group}" in pattern else None
        group = "" if place is None else PurePosixPath(parent).parts[place]
        files.append(File(path, "/".join(pattern), folders[parent].split, group))
    return files


def split_folders(paths: Iterable[str]) -> dict[str, str]:
    """How each split is called in folders' names."""
    found: dict[str, str] = {}
    for parent in sorted({_parent(path) for path in paths}):
        for part in PurePosixPath(parent).parts:
            if (named := _split_in(part)) is not None:
                found.setdefault(named[0], part[: len(part) - len(named[1])])
                break
    return found


def _parent(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _split_in(part: str) -> tuple[str, str] | None:
    """The split, and what follows it in a folder's name: trainannot, val_images."""
    for split, words in _SPLITS.items():
        for word in sorted(words, key=len, reverse=True):
            rest = part[len(word) :]
            if part.lower().startswith(word) and (not rest[:1].isalpha() or is_word(rest, MASKS + IMAGES)):
                return split, rest
    return None


def _without_split(parent: str) -> _Folder:
    parts = [] if parent == "." else [*PurePosixPath(parent).parts]
    for i, part in enumerate(parts):
        if (named := _split_in(part)) is not None:
            parts[i] = "{split}" + named[1]
            return _Folder(parts, named[0])
    return _Folder(parts, "")


def _grouped(folders: dict[str, list[str]]) -> dict[str, list[str]]:
    """Folders with `{group}` for the first part in which many of them differ, unless its name says what is in it."""
    alike: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for parts in folders.values():
        for i, part in enumerate(parts):
            if _may_be_group(part):
                alike[(*parts[:i], "*", *parts[i + 1 :])].add(part)
    found = {}
    for parent, parts in folders.items():
        places = (
            i
            for i, part in enumerate(parts)
            if _may_be_group(part) and len(alike[(*parts[:i], "*", *parts[i + 1 :])]) > 1
        )
        place = next(places, None)
        found[parent] = parts if place is None else [*parts[:place], "{group}", *parts[place + 1 :]]
    return found


def _may_be_group(part: str) -> bool:
    return "{" not in part and not is_word(part, MASKS + IMAGES)
