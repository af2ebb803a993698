"""Lists of classes."""

from collections.abc import Sequence

from segtool.card import ClassInfo
from segtool.errors import SegtoolError
from segtool.palette import voc_color

MOST_CLASSES = 255


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
