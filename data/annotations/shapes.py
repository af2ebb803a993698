"""Labelled regions of images, whichever tool they come from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.data.checks.findings import Finding
from segtool.errors import SegtoolError
from segtool.extras import needed

Outline = NDArray[np.float64]
Bitmap = Callable[[int, int], NDArray[np.bool_]]
_FARTHEST = 2  # sides of the image that an outline may reach beyond it; what draws it takes time by its length
_CORNERS = 128  # of an ellipse that is drawn as a polygon


class Shape(NamedTuple):
    """A labelled region.

    Attributes:
        label: as the tool calls it.
        outlines: polygons [K,2], (x, y) in pixels from the image's top left corner; the region is what any of them
            encloses.
        bitmap: instead of outlines a function (height, width) -> bool [H,W].
        crowd: whether it covers several things that nobody told apart, and is void.
    """

    label: str
    outlines: tuple[Outline, ...] = ()
    bitmap: Bitmap | None = None
    crowd: bool = False


class Annotated(NamedTuple):
    """An image with its shapes, in the order in which they are painted unless the largest come first.

    Attributes:
        name: unique in its dataset.
        image: the file.
        size: (height, width) that the shapes are meant for; None: the image's own.
        source: the file that holds the annotation.
    """

    name: str
    image: Path
    size: tuple[int, int] | None
    shapes: Sequence[Shape]
    source: str


class Source(NamedTuple):
    """What a tool wrote.

    Attributes:
        labels: all that its annotations may use, in the tool's order.
        images: with their shapes.
        split_known: whether these are the images of one split; otherwise they are of all.
        by_area: whether small shapes lie over large ones; otherwise later ones over earlier ones.
        void: labels that mean nothing to be learned, by the tool's own convention.
        colors: of labels, where the tool knows some.
        problems, doubts: see `SegmentationDataset`.
    """

    labels: Sequence[str]
    images: Sequence[Annotated]
    split_known: bool
    by_area: bool = False
    void: Sequence[str] = ()
    colors: Mapping[str, tuple[int, int, int]] = MappingProxyType({})
    problems: Sequence[SegtoolError] = ()
    doubts: Sequence[Finding] = ()


class Notes:
    """What goes wrong, or looks wrong, while annotations are read."""

    def __init__(self) -> None:
        self.problems: list[SegtoolError] = []
        self.doubts: list[Finding] = []

    def problem(self, what: str, where: object, mend: str | None = None) -> None:
        """Something that is refused."""
        self.problems.append(SegtoolError(what, where=where, mend=mend))

    def doubt(self, what: str, where: object, mend: str | None = None) -> None:
        """Something that is left out or changed."""
        self.doubts.append(Finding(what, str(where), mend))

    def outline(self, numbers: Iterable[object], where: object, size: tuple[int, int] | None) -> Outline | None:
        """A polygon from its coordinates x, y, x, y, ...; None, with a note, if they give none.

        Args:
            size: (height, width) of the image; None if the tool does not say.
        """
        try:
            flat = np.array([*numbers], np.float64)
        except (TypeError, ValueError):
            self.problem("a polygon whose coordinates are no numbers", where, "correct or remove it")
            return None
        if flat.ndim != 1 or flat.size % 2 or not np.isfinite(flat).all():
            self.problem("a polygon whose coordinates are no pairs of finite numbers", where, "correct or remove it")
            return None
        if flat.size < 6:
            self.doubt("a polygon of less than three points is left out", where, "it encloses nothing")
            return None
        outline = flat.reshape(-1, 2)
        return outline if size is None or self._inside(outline, where, size) else None

    def _inside(self, outline: Outline, where: object, size: tuple[int, int]) -> bool:
        height, width = size
        low, high = outline.min(0), outline.max(0)
        if (high <= 0).any() or low[0] >= width or low[1] >= height:
            self.doubt("a polygon outside its image is left out", where, "is it another image's?")
            return False
        if is_far(outline, height, width):
            self.problem("a polygon reaches far beyond its image", where, f"the image has {height}x{width} pixels")
            return False
        if (low < -1).any() or high[0] > width + 1 or high[1] > height + 1:
            self.doubt("a polygon reaches beyond its image, and is cut", where)
        return True


def is_far(outline: Outline, height: int, width: int) -> bool:
    """Whether an outline reaches so far beyond its image that nobody can have meant it."""
    sides = np.array([width, height])
    return bool((outline < -_FARTHEST * sides).any() or (outline > (1 + _FARTHEST) * sides).any())


Compact = dict[str, object]  # a mask as pycocotools keeps it, in run lengths


def rasterised(shape: Shape, height: int, width: int, where: object) -> Compact:
    """The pixels of a shape, [H,W]; polygons as pycocotools draws them.

    Raises:
        SegtoolError: pycocotools is not installed, or a polygon reaches far beyond the image.
    """
    api = mask_api()
    if shape.bitmap is not None:
        return api.encode(np.asfortranarray(shape.bitmap(height, width), np.uint8))
    for outline in shape.outlines:
        if is_far(outline, height, width):
            mend = f"the image has {height}x{width} pixels"
            raise SegtoolError("a polygon reaches far beyond its image", where=where, mend=mend)
    return api.merge(api.frPyObjects([outline.ravel().tolist() for outline in shape.outlines], height, width))


def decoded(compact: Compact) -> NDArray[np.bool_]:
    """The pixels, bool [H,W]."""
    return mask_api().decode(compact).astype(bool)


def area_of(compact: Compact) -> int:
    """How many pixels there are."""
    return int(mask_api().area(compact))


def mask_api() -> ModuleType:
    """pycocotools.mask, or the error that says how to install it."""
    return needed("pycocotools.mask", "polygons", "data")


def runs(counts: NDArray[np.int64], height: int, width: int, where: object) -> NDArray[np.bool_]:
    """Pixels from run lengths, of zeros first, [height * width].

    Raises:
        SegtoolError: they are negative, or do not fill the image.
    """
    fits = not ((counts < 0) | (counts > height * width)).any() and counts.sum() == height * width
    if not fits:  # a sum of 64 bits may wrap around
        what = f"run lengths that do not fill {height}x{width} pixels"
        raise SegtoolError(what, where=where, mend="the mask must have its image's size")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts)


def ellipse(x: float, y: float, across: float, down: float) -> list[float]:
    """Points x, y, ... on an ellipse around (x, y)."""
    turn = 2 * np.pi * np.arange(_CORNERS) / _CORNERS
    return np.stack([x + across * np.cos(turn), y + down * np.sin(turn)], 1).ravel().tolist()
