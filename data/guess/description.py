"""A classes.yaml for a folder that has none."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from segtool.card import ClassInfo
from segtool.data.described import open_described
from segtool.data.description import FILE, VOID, read_description
from segtool.data.description_text import description_text
from segtool.data.guess.contents import Contents, contents
from segtool.data.guess.families import Pairing, pairings
from segtool.data.guess.names import Names, names_beside
from segtool.data.guess.paths import split_folders
from segtool.data.guess.tools import known_layout
from segtool.data.label_values import color_text
from segtool.data.splits import ALL, Member, group_of
from segtool.errors import SegtoolError
from segtool.palette import voc_color
from segtool.sources import find

_LISTS = ("", "splits", "lists", "ImageSets/Segmentation", "ImageSets")
_VOIDS = ("void", "unlabeled", "unlabelled", "unlabeled pixel", "ignore", "unknown")
_VALIDATION = 0.2  # share of the images, where nothing says what validates
_GROUPS = 5  # films or folders, from which on they are dealt whole


class Guess(NamedTuple):
    """What a folder seems to hold.

    Attributes:
        words: in a line.
        spec: what reads it.
        text: of the classes.yaml that it needs; empty if none.
    """

    words: str
    spec: str
    text: str


def guess(root: Path, images: str | None = None, masks: str | None = None) -> Guess:
    """Looks at a folder.

    Args:
        images, masks: patterns as classes.yaml has them, where the user knows better.

    Raises:
        SegtoolError: it holds nothing that is known, or there is more than one way to read it; with what to say.
    """
    if not root.is_dir():
        raise SegtoolError("no such folder", where=root)
    known = known_layout(root) if images is None and masks is None else None
    if known is not None:
        return Guess(known.words, known.spec, "")
    pairing = _pairing(root, images, masks)
    seen = contents([root / path for path in pairing.masks.paths], "{class}" in pairing.masks.folder)
    return _described(root, pairing, seen, names_beside(root))


def _pairing(root: Path, images: str | None, masks: str | None) -> Pairing:
    paths = find(root).images
    if not paths:
        raise SegtoolError("no images", where=root, mend="and no annotations of a tool that is known")
    found = pairings(paths)
    found = [p for p in found if images in (None, p.images.pattern) and masks in (None, p.masks.pattern)]
    if not found:
        said = [pattern for pattern in (images, masks) if pattern is not None]
        what = (
            f"nothing pairs images and masks as {' and '.join(said)} say" if said else "no masks belong to the images"
        )
        raise SegtoolError(
            what, where=root, mend="masks have their image's name, in a folder of their own or with a suffix"
        )
    if len(found) > 1:
        ways = sorted({p.masks.pattern for p in found})
        option = "--masks"
        if len(ways) == 1:
            ways, option = sorted({p.images.pattern for p in found}), "--images"
        mend = f"say which: {option} '{ways[0]}'"
        raise SegtoolError(f"{len(ways)} ways to read it, {', '.join(ways)}", where=root, mend=mend)
    return found[0]


def _described(root: Path, pairing: Pairing, seen: Contents, names: Names) -> Guess:
    more: dict[str, object] = {"images": pairing.images.pattern, "masks": pairing.masks.pattern}
    classes, values = _classes(root, pairing, seen, names)
    more |= values | _split(root, pairing)
    comment = f"Guessed from {seen.looked_at} masks: correct what is wrong, above all the names."
    if names.path is not None:
        comment = f"Guessed from {seen.looked_at} masks and {names.path.name}: correct what is wrong."
    text = description_text(classes, more, comment=comment)
    count = len(seen.values)
    kinds = {
        "colors": f"RGB with {count} colours",
        "ids": f"ids with {count} values",
        "binary": "binary",
    }
    words = f"masks are {kinds[seen.kind]}" + (", one for each class" if "{class}" in pairing.masks.folder else "")
    _check(root, text, pairing)
    return Guess(f"{len(pairing.images.paths)} images; {words}", f"folder:{root}", text)


def _classes(root: Path, pairing: Pairing, seen: Contents, names: Names) -> tuple[list[ClassInfo], dict[str, object]]:
    """The classes, and what says how masks tell them."""
    if "{class}" in pairing.masks.folder:
        place = PurePosixPath(pairing.masks.folder).parts.index("{class}")
        found = sorted({PurePosixPath(path).parts[place] for path in pairing.masks.paths})
        return _infos(["background", *(name for name in found if name != "background")]), {}
    if seen.kind == "binary":
        return _infos(names.ordered if len(names.ordered) == 2 else ["background", "thing"]), {"values": "binary"}
    if seen.kind == "colors":
        known = dict(names.colors)
        colors = [*known, *sorted(set(seen.values) - set(known))]
        called = [known.get(color, f"class_{place}") for place, color in enumerate(colors)]
        void = {color_text(color): VOID for color, name in zip(colors, called, strict=True) if _is_void(name)}
        colors = [color for color in colors if color_text(color) not in void]
        called = [name for name in called if not _is_void(name)]
        infos = [
            ClassInfo(id=i, name=name, color=(color >> 16, color >> 8 & 255, color & 255))
            for i, (name, color) in enumerate(zip(_different(called), colors, strict=True))
        ]
        return infos, {"values": "colors"} | ({"ids": void} if void else {})
    return _of_ids(seen, names)


def _of_ids(seen: Contents, names: Names) -> tuple[list[ClassInfo], dict[str, object]]:
    values = sorted(seen.values)
    labels = [value for value in values if value != 255] if len(values) > 2 else values
    most = max(labels, default=0)
    if names.ordered and most < len(names.ordered):
        labels = [*range(len(names.ordered))]
    elif most < 2 * len(labels) and most < 255:  # ids in a row, some of which these masks may lack
        labels = [*range(most + 1)]
    called = names.ordered if len(names.ordered) == len(labels) else [f"class_{value}" for value in labels]
    if len(called) == 2 and not names.ordered:
        called = ["background", "thing"]
    void = [value for value, name in zip(labels, called, strict=True) if _is_void(name)]
    called = [name for name in called if not _is_void(name)]
    labels = [value for value in labels if value not in void]
    infos = _infos(_different(called), [seen.palette.get(value) for value in labels])
    if labels == [*range(len(labels))]:
        return infos, {}
    ids: dict[object, str] = {value: info.name for value, info in zip(labels, infos, strict=True)}
    void += [255] if 255 in values and 255 not in labels else []
    return infos, {"ids": ids | dict.fromkeys(void, VOID)}


def _is_void(name: str) -> bool:
    return name.lower().strip("_ ") in _VOIDS


def _infos(names: Sequence[str], colors: Sequence[tuple[int, int, int] | None] = ()) -> list[ClassInfo]:
    given = [color for color in colors if color is not None]
    usable = len(given) == len(names) == len(set(given))
    return [ClassInfo(id=i, name=n, color=given[i] if usable else voc_color(i)) for i, n in enumerate(names)]


def _different(names: Sequence[str]) -> list[str]:
    """The names, those that occur again with their number."""
    return [f"{name} {i}" if name in names[:i] else name for i, name in enumerate(names)]


def _split(root: Path, pairing: Pairing) -> dict[str, object]:
    """What `split:` has to say: nothing where folders are called train and val."""
    if "{split}" in pairing.images.folder:
        folders = split_folders(pairing.images.paths)
        return {"split": folders} if any(split != name for split, name in folders.items()) else {}
    for place in _LISTS:
        found = {s: root / place / f"{s}.txt" for s in ("train", "val", "test")}
        there = {s: path.relative_to(root).as_posix() for s, path in found.items() if path.is_file()}
        if "train" in there and "val" in there:
            return {"split": there}
    members = [Member(stem, files[0].path, {}) for (_, _, stem), files in pairing.images.members.items()]
    for by in ("prefix", "folder"):
        if len({group_of(member, by) for member in members}) >= _GROUPS:
            return {"split": {"val": _VALIDATION, "by": by}}
    return {"split": {"val": _VALIDATION, "by": "image"}} if len(members) > 1 else {}


def _check(root: Path, text: str, pairing: Pairing) -> None:
    """Opens what was guessed, as a user will."""
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / FILE
        path.write_text(text, encoding="utf-8")
        description = read_description(path, root)
        for split in split_folders(pairing.images.paths) if "{split}" in pairing.images.folder else (ALL,):
            open_described(description, "folder", split)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
