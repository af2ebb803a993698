"""What masks hold: ids, colours, or 0 and one other value."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from segtool.data.base import even_choice
from segtool.data.label_values import is_smoothed, stored_ids
from segtool.errors import SegtoolError
from segtool.images import loaded, opened_image

MOST_LOOKED_AT = 400  # masks
_MOST_COLORS = 255
_IDS = ("L", "P", "1", "I", "I;16", "I;16B", "I;16L")
_NEARLY = 0.02  # share of pixels of a JPEG that may be neither black nor white


class Contents(NamedTuple):
    """What was seen in masks.

    Attributes:
        kind: `ids`, `colors` or `binary`.
        values: ids, or colours 0xRRGGBB, with their pixels.
        palette: the colour of each id, where the files have palettes.
        looked_at: how many masks.
    """

    kind: str
    values: Counter[int]
    palette: dict[int, tuple[int, int, int]]
    looked_at: int


def contents(paths: Sequence[Path], each_class: bool) -> Contents:
    """Looks at masks, evenly chosen where there are many.

    Args:
        each_class: whether there is one for each class, so that they are binary.

    Raises:
        SegtoolError: they are pictures rather than masks.
    """
    chosen = [paths[i] for i in even_choice(len(paths), MOST_LOOKED_AT)]
    ids: Counter[int] = Counter()
    colors: Counter[int] = Counter()
    palette: dict[int, tuple[int, int, int]] = {}
    jpegs = 0
    for path in chosen:
        with opened_image(path) as image:
            jpegs += image.format == "JPEG"
            if image.format == "JPEG":
                _check_black_and_white(image, path)
            elif image.mode in _IDS:
                ids += _counted(stored_ids(image, path).astype(np.int64))
                palette |= _palette(image)
            else:
                rgb = np.asarray(loaded(image).convert("RGB")).astype(np.int64)
                colors += _counted(rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2])
        if len(colors) > _MOST_COLORS or len(ids) > _MOST_COLORS + 1:
            what = f"masks of more than {_MOST_COLORS} values look like pictures"
            raise SegtoolError(what, where=path, mend="which hold the labels? --masks says it")
    if jpegs == len(chosen) or each_class:
        return Contents("binary", ids + colors, {}, len(chosen))
    if colors and not _is_grey(colors):
        if ids:
            raise SegtoolError(
                "some masks are colours, and some are not", where=chosen[0].parent, mend="save all alike"
            )
        return Contents("colors", colors, {}, len(chosen))
    if colors and set(colors) <= {0, 0xFFFFFF}:
        return Contents("binary", colors, {}, len(chosen))
    if colors:
        return Contents("colors", colors, {}, len(chosen))
    kind = "binary" if set(ids) == {0, 255} or is_smoothed(ids) else "ids"
    return Contents(kind, ids, palette, len(chosen))


def _counted(values: np.ndarray) -> Counter[int]:
    found, counts = np.unique(values, return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))


def _is_grey(colors: Counter[int]) -> bool:
    return all(color >> 16 == color >> 8 & 255 == color & 255 for color in colors)


def _check_black_and_white(image: Image.Image, path: Path) -> None:
    """JPEG changes values; of black and white enough is left."""
    grey = np.asarray(loaded(image).convert("L"))
    if ((grey > 32) & (grey < 223)).mean() > _NEARLY:
        raise SegtoolError("masks saved as JPEG, which changes class ids", where=path, mend="save them as PNG")


def _palette(image: Image.Image) -> dict[int, tuple[int, int, int]]:
    given = image.getpalette("RGB") if image.mode == "P" else None
    if given is None:
        return {}
    return {i: (given[3 * i], given[3 * i + 1], given[3 * i + 2]) for i in range(len(given) // 3)}
