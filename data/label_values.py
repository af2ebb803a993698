"""What the values in masks mean: class ids, colours, or a thing and what is around it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segtool.card import ClassInfo
from segtool.errors import SegtoolError
from segtool.images import loaded, opened_image
from segtool.raster_parts import ids_in_part
from segtool.rasters import Part

Values = Literal["ids", "colors"]
MOST_VALUES = 65536  # of masks of 16 bits
_NAMED = 5  # values that a message names
_SMOOTHED, _EDGES = 3, 0.3  # values, beyond which, and share of pixels, up to which edges may be smoothed
_THING = 128  # from here on a pixel of a binary mask that lost something, such as a JPEG, is the thing
_STEPS = {"L;2": 85, "L;4": 17}  # by which Pillow spreads grey of 2 and 4 bits over 0..255
_IDS = ("L", "P", "1", "I", "I;16", "I;16B", "I;16L")


@dataclass(frozen=True)
class LabelValues:
    """How a mask's file becomes class ids.

    Attributes:
        kind: what the file holds: `ids`, or `colors` (of a colour picture or a palette).
        table: the class id (or `ignore_index`) of each value; None: the values are the class ids.
        colors: the class id (or `ignore_index`) of each colour, 0xRRGGBB.
        other: what becomes of values that neither names; None: they are refused.
    """

    kind: Values = "ids"
    table: Mapping[int, int] | None = None
    colors: Mapping[int, int] = field(default_factory=dict)
    other: int | None = None

    def read(self, path: Path) -> NDArray[np.uint8]:
        """A mask as uint8 [H,W].

        Raises:
            SegtoolError: missing, truncated, of another kind, or with values that mean nothing.
        """
        with opened_image(path) as image:
            if image.format == "JPEG":
                what = "a mask saved as JPEG, which changes " + ("class ids" if self.kind == "ids" else "colours")
                raise SegtoolError(what, where=path, mend="save it as PNG")
            stored: NDArray[Any] = _packed_colors(image) if self.kind == "colors" else stored_ids(image, path)
        return self._meant(stored, path)

    def read_part(self, path: Path, part: Part) -> NDArray[np.uint8]:
        """Rows and columns of a mask; of a TIFF of ids no more of the file is decoded than they need.

        Raises:
            SegtoolError: as `read`.
        """
        if self.kind == "ids" and (stored := ids_in_part(path, part)) is not None:
            return self._meant(stored, path)
        return self.read(path)[part]

    def _meant(self, stored: NDArray[Any], path: Path) -> NDArray[np.uint8]:
        """Class ids [H,W] of the values in a file."""
        if self.kind == "ids" and self.table is None:
            if stored.dtype != np.uint8 and stored.max() > 255:
                what = f"a mask of 16 bits with values up to {stored.max()}, which are no class ids"
                raise SegtoolError(what, where=path, mend="ids: in classes.yaml says which class each is")
            return stored.astype(np.uint8)
        meaning = self.colors if self.kind == "colors" else self.table or {}
        return self._looked_up(stored, meaning, path)

    def stored(self, label: int) -> int:
        """A value in the files that becomes `label`."""
        if self.kind != "ids" or self.table is None:
            return label
        return next((value for value, found in self.table.items() if found == label), label)

    def _looked_up(self, stored: NDArray[Any], meaning: Mapping[int, int], path: Path) -> NDArray[np.uint8]:
        if stored.dtype == np.uint32:  # colours: those few that there are
            values, places = np.unique(stored, return_inverse=True)
            counts = np.bincount(places.ravel(), minlength=len(values))
        else:
            counts = np.bincount(stored.ravel())
            values, places = np.arange(len(counts)), stored
        labels = [meaning.get(int(value), self.other) for value in values]
        unknown = [(int(n), int(v)) for v, n, label in zip(values, counts, labels, strict=True) if n and label is None]
        if unknown:
            raise self._unknown(unknown, path)
        table = np.array([0 if label is None else label for label in labels], np.uint8)
        return table[places].reshape(stored.shape)

    def _unknown(self, found: Sequence[tuple[int, int]], path: Path) -> SegtoolError:
        """The error for values that mean nothing; `found` are (pixels, value)."""
        write = color_text if self.kind == "colors" else str
        named = ", ".join(f"{write(value)} ({count} pixels)" for count, value in sorted(found, reverse=True)[:_NAMED])
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        what = "colours" if self.kind == "colors" else "values"
        mend = "name them under ids: in classes.yaml, or all of them: other: void"
        return SegtoolError(f"{what} in a mask that are no class, {named}{more}", where=path, mend=mend)


def binary(image: Image.Image, path: Path) -> NDArray[np.bool_]:
    """Where the thing of a binary mask is, [H,W]: 0 and one other value.

    Of a JPEG, and of edges that were smoothed between 0 and 255, it is where 128 or more is.

    Raises:
        SegtoolError: a mask of more than two values that is neither.
    """
    grey = _brightness(loaded(image), path)
    if image.format == "JPEG":
        return grey >= _THING
    values, counts = np.unique(grey, return_counts=True)
    if len(values) <= 1 or (len(values) == 2 and values[0] == 0):
        return grey > 0
    if is_smoothed(dict(zip(values.tolist(), counts.tolist(), strict=True))):
        return grey >= _THING
    named = ", ".join(map(str, values[:_NAMED])) + (", ..." if len(values) > _NAMED else "")
    mend = "it may hold 0 and one other value; class ids: values: ids"
    raise SegtoolError(f"a binary mask of {len(values)} values: {named}", where=path, mend=mend)


def is_smoothed(counts: Mapping[int, int]) -> bool:
    """Whether values with their pixels are those of a mask of 0 and 255 with smoothed edges."""
    between = sum(count for value, count in counts.items() if value not in (0, 255))
    return len(counts) > _SMOOTHED and {0, 255} <= counts.keys() and between < _EDGES * sum(counts.values())


def _brightness(image: Image.Image, path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """What tells a thing from what is around it: values, brightness, or transparency where only that differs."""
    if image.mode in _IDS and image.mode != "P":
        return stored_ids(image, path)
    if image.mode in ("RGBA", "LA", "PA"):
        alpha = np.asarray(image.getchannel("A"))
        colors = np.asarray(image.convert("RGB"))
        if alpha.min() != alpha.max() and (colors == colors[0, 0]).all():
            return alpha
    grey = np.asarray(image.convert("L"))
    if image.mode == "P" and grey.min() == grey.max():  # a palette without a difference
        return np.asarray(image)
    return grey


def stored_ids(image: Image.Image, path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The values as they are, uint8 or uint16 [H,W]."""
    if image.mode not in _IDS:
        raise SegtoolError(
            f"a mask must hold class ids in one channel, not {image.mode}",
            where=path,
            mend="are they colours? values: colors in classes.yaml; segtool data init writes one",
        )
    tiles = getattr(image, "tile", None)  # how the file's pixels become those in memory
    step = _STEPS.get(tiles[0][3], 1) if tiles and isinstance(tiles[0][3], str) else 1
    found = np.asarray(loaded(image))
    if image.mode in ("L", "P", "1"):
        return (found // step).astype(np.uint8)
    if found.size and not 0 <= int(found.min()) <= int(found.max()) < MOST_VALUES:
        raise SegtoolError(f"a mask with values {found.min()}..{found.max()}", where=path, mend="ids are 0..65535")
    return found.astype(np.uint16)


def _packed_colors(image: Image.Image) -> NDArray[np.uint32]:
    """The colours, 0xRRGGBB, [H,W]."""
    packed_rgb = np.asarray(loaded(image).convert("RGB")).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return packed_rgb.astype(np.uint32)


def packed(color: Sequence[int]) -> int:
    """A colour as 0xRRGGBB."""
    red, green, blue = color
    return red << 16 | green << 8 | blue


def color_text(color: int) -> str:
    """A colour as it is written under `ids:`."""
    return f"#{color:06x}"


def class_colors(classes: Sequence[ClassInfo]) -> dict[int, int]:
    """The classes' own colours.

    Raises:
        SegtoolError: two classes have one colour.
    """
    found: dict[int, int] = {}
    for info in classes:
        if (other := found.setdefault(packed(info.color), info.id)) != info.id:
            names = f"{classes[other].name}, {info.name}"
            raise SegtoolError(f"two classes have the color {list(info.color)}", where=names, mend="give each its own")
    return found
