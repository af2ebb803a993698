"""What a network makes of overlapping tiles, blended into one field of probabilities."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segtool.crf.refine import log_softmax
from segtool.images import RGB
from segtool.runtime.tiles import Tiles
from segtool.windows import Span, spans, touching, weights

Logits = Callable[[RGB], NDArray[np.float32]]
_KEPT = 512 << 20  # bytes of tiles' answers that are kept for the next window
Place = tuple[int, int]


class Source(Protocol):
    """An image that is read in windows.

    Attributes:
        height, width: of the image.
    """

    height: int
    width: int

    def read(self, rows: slice, columns: slice) -> RGB:
        """uint8 [h,w,3] of a window."""
        ...


class Blended:
    """The network's class probabilities of a large image, of any window of it.

    Tiles lie where they lie, whichever window is asked for: two windows agree on what both see. Where tiles overlap,
    their probabilities are averaged as `segtool.windows.weights` says, and as `segtool eval --slide` does.

    Args:
        logits: of an image uint8 [h,w,3] the network's, float32 [C,h,w], before any dense CRF.
        stride: tiles begin at multiples of it, see `segtool.windows.spans`.
    """

    def __init__(self, logits: Logits, source: Source, tiles: Tiles, stride: int) -> None:
        self._logits, self._source = logits, source
        self._rows = spans(source.height, tiles.height, tiles.overlap, stride)
        self._columns = spans(source.width, tiles.width, tiles.overlap, stride)
        self._row_weights, self._column_weights = weights(self._rows), weights(self._columns)
        self._kept: OrderedDict[Place, NDArray[np.float32]] = OrderedDict()
        self._size = 0

    def window(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Logarithms of the probabilities in a window, float32 [C,h,w]."""
        sums: NDArray[np.float32] | None = None
        total = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
        for i in touching(self._rows, rows.start, rows.stop):
            for j in touching(self._columns, columns.start, columns.stop):
                inside, there = _overlap(self._rows[i], rows), _overlap(self._columns[j], columns)
                weight = self._row_weights[i][inside[0], None] * self._column_weights[j][there[0]]
                if not weight.any():
                    continue
                seen = self._tile(self._rows[i], self._columns[j])
                if sums is None:
                    sums = np.zeros((len(seen), *total.shape), np.float32)
                sums[:, inside[1], there[1]] += weight * seen[:, inside[0], there[0]]
                total[inside[1], there[1]] += weight
        assert sums is not None  # tiles cover the image
        sums /= total
        return np.log(np.maximum(sums, np.finfo(np.float32).tiny, out=sums), out=sums)

    def _tile(self, row: Span, column: Span) -> NDArray[np.float32]:
        """The probabilities of a tile, of those that were needed last without running it again."""
        place = row.start, column.start
        if place in self._kept:
            self._kept.move_to_end(place)
            return self._kept[place]
        image = self._source.read(slice(row.start, row.stop), slice(column.start, column.stop))
        found = np.exp(log_softmax(self._logits(np.ascontiguousarray(image))))
        self._kept[place] = found
        self._size += found.nbytes
        while self._size > _KEPT and len(self._kept) > 1:
            self._size -= self._kept.popitem(last=False)[1].nbytes
        return found


def _overlap(span: Span, window: slice) -> tuple[slice, slice]:
    """What a tile and a window have in common: as places of the tile, and of the window."""
    first, last = max(span.start, window.start), min(span.stop, window.stop)
    return slice(first - span.start, last - span.start), slice(first - window.start, last - window.start)
