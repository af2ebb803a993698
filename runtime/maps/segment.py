"""Segmenting an image of any size, with a memory that does not depend on it."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.bands import guide
from segtool.card import CrfCard, ModelCard
from segtool.crf.geometry import lattice_periods
from segtool.crf.refine import refine
from segtool.prediction import VOID
from segtool.runtime.maps.blending import Blended, Logits, Source
from segtool.runtime.tiles import Tiles
from segtool.windows import Span, spans_from

_BUDGET = 600 << 20  # bytes that the CRF of a window may take, unless a window must be larger to be of use
_REACH = 3.0  # standard deviations of the widest kernel that a window sees beyond what it decides
_FARTHEST = 384  # pixels; of wider kernels the rest hardly matters any more
_SMALLEST = 256  # pixels that a window decides at least, along each side
Progress = Callable[[int, int], None]


class Part(NamedTuple):
    """The answer to a part of the image.

    Attributes:
        rows, columns: of the image.
        labels: uint8 [h,w]; confidence: float32 [h,w].
        before: labels before the dense CRF, uint8 [h,w].
    """

    rows: slice
    columns: slice
    labels: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    before: NDArray[np.uint8]


def segment_map(
    logits: Logits,
    card: ModelCard,
    source: Source,
    tiles: Tiles,
    folder: Path,
    progress: Progress = lambda done, total: None,
    threads: int = 0,
) -> Iterator[Part]:
    """The answer, part by part, row by row; together they cover the image.

    The network sees tiles, whose probabilities are blended. The dense CRF sees windows of the blended field that reach
    `_REACH` widths of its widest kernel beyond what they decide, so that labels hardly depend on where windows lie.

    Args:
        logits: of an image [h,w,B] those before any dense CRF, float32 [C,h,w].
        folder: for the answers to tiles that do not fit into memory: those of about two rows of tiles.
        threads: of the CRF; 0: see `segtool.crf.native`.

    Raises:
        SegtoolError: tiles that do not overlap as they should, a part that cannot be read, or no room in the folder.
    """
    field = Blended(logits, source, tiles, card.input.stride, folder)
    halo = 0 if card.crf is None else reach_of(card.crf)
    side = window_side(len(card.classes), halo)
    periods = (1.0, 1.0) if card.crf is None else lattice_periods(card.crf.bilateral_alpha)
    rows = crf_windows(source.height, side, halo, periods[1])
    columns = crf_windows(source.width, side, halo, periods[0])
    for done, (row, column) in enumerate((r, c) for r in rows for c in columns):
        field.forget_above(row.start)
        yield _part(field, card, source, row, column, threads)
        progress(done + 1, len(rows) * len(columns))


def reach_of(crf: CrfCard) -> int:
    """How far beyond a window's seams its CRF sees, pixels."""
    return min(_FARTHEST, math.ceil(_REACH * max(crf.spatial_gamma, crf.bilateral_alpha)))


def crf_windows(length: int, side: int, halo: int, period: float) -> list[Span]:
    """Windows along a side of the image for the CRF.

    They begin where the bilateral kernel's lattice repeats, so that it lies on the image as if there were one window:
    what it approximates depends a little on where a pixel lies in its cells.
    """
    step = float(side - 2 * halo)
    if step >= period:
        step = int(step / period) * period
    starts = [0]
    while starts[-1] + side < length:
        starts.append(round(len(starts) * step))
    return spans_from(starts, length, side)


def window_side(classes: int, halo: int) -> int:
    """The side of a window, pixels: what the CRF's memory allows, and enough to decide something.

    A pixel takes 48 bytes of the lattice, 24 of images, and 40 for each class.
    """
    return max(_SMALLEST + 2 * halo, int(math.sqrt(_BUDGET / (72 + 40 * classes))))


def _part(field: Blended, card: ModelCard, source: Source, row: Span, column: Span, threads: int) -> Part:
    rows, columns = slice(row.start, row.stop), slice(column.start, column.stop)
    scores = field.window(rows, columns)
    kept = (
        slice(row.first - row.start, row.last - row.start),
        slice(column.first - column.start, column.last - column.start),
    )
    before = scores[:, *kept].argmax(0).astype(np.uint8)
    if card.crf is None:
        found = np.exp(scores, out=scores)
    else:
        found = refine(scores, guide(source.read(rows, columns), card.input), card.crf, threads)
    found = found[:, *kept]
    labels = before if card.crf is None else found.argmax(0).astype(np.uint8)
    return Part(slice(row.first, row.last), slice(column.first, column.last), labels, found.max(0), before)


def void_where(part: Part, missing: NDArray[np.bool_], threshold: float | None) -> Part:
    """The part with void where there is no image, and where the answer is not sure enough."""
    labels = np.where(missing, np.uint8(VOID), part.labels)
    if threshold is not None:
        labels[part.confidence < threshold] = VOID
    return part._replace(labels=labels)
