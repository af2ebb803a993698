"""Masks that a model wrote, described as a dataset that can be trained on."""

import os
from collections.abc import Sequence
from pathlib import Path

from segtool.card import ClassInfo
from segtool.data.description import FILE
from segtool.data.description_text import description_text
from segtool.errors import SegtoolError
from segtool.files import write_text

_LIST = "train.txt"
_COMMENT = "Written by segtool predict --threshold: masks of a model, void where it is not sure."


def describe_masks(images: Path, out: Path, names: Sequence[str], classes: Sequence[ClassInfo]) -> Path:
    """Writes OUT/classes.yaml, and OUT/train.txt with the images that have a mask; returns the former.

    Args:
        images: the folder that was segmented; it and OUT have a folder in common.
        names: of the images with a mask, relative to OUT and without their endings.

    The folders must have passed `check_describable`.
    """
    images, out = Path(os.path.realpath(images)), Path(os.path.realpath(out))
    path = out / FILE
    root = Path(os.path.commonpath([images, out]))
    more = {
        "root": Path(os.path.relpath(root, out)).as_posix(),
        "images": f"{images.relative_to(root).as_posix()}/**/{{stem}}",
        "masks": f"{out.relative_to(root).as_posix()}/**/{{stem}}.png",
        "split": {"train": f"{out.relative_to(root).as_posix()}/{_LIST}"},
    }
    write_text(out / _LIST, "".join(f"{name}\n" for name in names))
    write_text(path, description_text(classes, more, comment=_COMMENT))
    return path


def check_describable(images: Path, out: Path, tasks: Sequence[tuple[Path, Path]]) -> None:
    """Whether `describe_masks` can do its work, before that of a model is done.

    Args:
        tasks: each image, and its mask without its ending.

    Raises:
        SegtoolError: one folder is in the other one; there is somebody else's classes.yaml; a name that a mask cannot
            share with its image, or that no list can hold.
    """
    for source, target in tasks:
        below = str(source.relative_to(images))
        if source.stem != target.name or not below.isprintable() or set(below) & set("{}*?"):
            mend = "rename it: image and mask are paired by their names"
            raise SegtoolError("a name that pseudo-labels cannot have", where=source, mend=mend)
    images, out = Path(os.path.realpath(images)), Path(os.path.realpath(out))
    if images.is_relative_to(out) or out.is_relative_to(images):
        raise SegtoolError("images and masks lie in each other", where=out, mend="choose an --out beside the images")
    path = out / FILE
    if path.is_file() and _COMMENT not in path.read_text(encoding="utf-8", errors="replace"):
        raise SegtoolError("there is a description of something else", where=path, mend="choose another --out")
