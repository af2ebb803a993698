"""A classes.yaml for a folder that has none."""

import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from segtool.data.described import open_described
from segtool.data.description import ALL_BANDS, FILE, read_description
from segtool.data.description_text import description_text
from segtool.data.guess.classes import classes_of
from segtool.data.guess.contents import Contents, contents
from segtool.data.guess.layout import Layout, has_masks, layout_of
from segtool.data.guess.names import names_beside
from segtool.data.guess.tools import known_layouts
from segtool.data.splits import ALL, Member, group_of
from segtool.errors import SegtoolError
from segtool.raster_parts import no_picture

_LISTS = ("", "splits", "lists", "annotations", "ImageSets/Segmentation", "ImageSets")
_VALIDATION = 0.2  # share of the images, where nothing says what validates
_GROUPS = 5  # films, from which on they are dealt whole


class Guess(NamedTuple):
    """What a folder seems to hold.

    Attributes:
        words: in a line.
        spec: what reads it.
        text: of the classes.yaml that it needs; empty if none.
        remarks: what was taken for what, and what is left out, in lines.
    """

    words: str
    spec: str
    text: str
    remarks: list[str]


def guess(root: Path, images: str | None = None, masks: str | None = None) -> Guess:
    """Looks at a folder.

    Args:
        images, masks: patterns as classes.yaml has them, where the user knows better.

    Raises:
        SegtoolError: it holds nothing that is known, or there is more than one way to read it; with what to say.
    """
    if not root.is_dir():
        raise SegtoolError("no such folder", where=root)
    known = known_layouts(root) if images is None and masks is None else []
    ways = [f"{one.words} ({one.spec})" for one in known] + ["masks"] * (bool(known) and has_masks(root))
    if len(ways) > 1:
        mend = "use the spec that you mean, or --images PATTERN --masks PATTERN"
        raise SegtoolError(f"{len(ways)} ways to read it: {', '.join(ways)}", where=root, mend=mend)
    if known:
        return Guess(known[0].words, known[0].spec, "", [])
    layout = layout_of(root, images, masks)
    seen = contents([root / path for path in layout.mask_files], bool(layout.classes))
    return _described(root, layout, seen)


def _described(root: Path, layout: Layout, seen: Contents) -> Guess:
    names = names_beside(root)
    classes = classes_of(seen, names, layout.classes)
    more: dict[str, object] = {"images": layout.images, "masks": layout.masks}
    as_they_are = no_picture(root / layout.image_files[0]) if layout.image_files else None
    if as_they_are is not None:
        more["bands"] = ALL_BANDS
    used = f" and {names.path.name}" if names.path is not None else ""
    comment = f"Guessed from {seen.looked_at} masks{used}: correct what is wrong, above all the names."
    text = description_text(classes.infos, more | classes.keys | _split(root, layout), comment=comment)
    count = len(seen.values)
    kinds = {"colors": f"RGB with {count} colours", "ids": f"ids with {count} values", "binary": "binary"}
    words = f"masks are {kinds[seen.kind]}" + (", one for each class" if layout.classes else "")
    _check(root, text, layout)
    remarks = [*layout.remarks, *classes.remarks]
    if as_they_are is not None:
        remarks.append(f"{as_they_are}: bands: all reads them as they are")
    return Guess(f"{len(layout.image_files)} images; {words}", f"folder:{root}", text, remarks)


def _split(root: Path, layout: Layout) -> dict[str, object]:
    """What `split:` has to say: nothing where folders are called train and val."""
    if layout.splits:
        return {"split": layout.splits} if any(split != name for split, name in layout.splits.items()) else {}
    for place in _LISTS:
        found = {s: root / place / f"{s}.txt" for s in ("train", "val", "test")}
        there = {s: path.relative_to(root).as_posix() for s, path in found.items() if path.is_file()}
        if "train" in there and "val" in there:
            return {"split": there}
    members = [Member(PurePosixPath(path).stem, path, {}) for path in layout.image_files]
    if len({group_of(member, "prefix") for member in members}) >= _GROUPS:
        return {"split": {"val": _VALIDATION, "by": "prefix"}}
    if len({group_of(member, "folder") for member in members}) > 1:
        return {"split": {"val": _VALIDATION, "by": "folder"}}
    return {"split": {"val": _VALIDATION, "by": "image"}} if len(members) > 1 else {}


def _check(root: Path, text: str, layout: Layout) -> None:
    """Opens what was guessed, as a user will."""
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / FILE
        path.write_text(text, encoding="utf-8")
        description = read_description(path, root)
        for split in layout.splits or (ALL,):
            open_described(description, "folder", split)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
