"""What a network makes of overlapping tiles, blended into one field of probabilities."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segtool.crf.refine import log_softmax
from segtool.errors import NoMoreRoom, SegtoolError
from segtool.readers import Image
from segtool.runtime.tiles import Tiles, check_tiles
from segtool.windows import Span, spans, touching, weights

Logits = Callable[[Image], NDArray[np.float32]]
_KEPT = 256 << 20  # bytes of tiles' answers that stay in memory; others lie in files until no window needs them
Place = tuple[int, int]


class Source(Protocol):
    """An image that is read in windows.

    Attributes:
        height, width: of the image.
    """

    height: int
    width: int

    def read(self, rows: slice, columns: slice) -> Image:
        """A window [h,w,B], as the model takes it."""
        ...


class Blended:
    """The network's class probabilities of a large image, of any window of it.

    Tiles lie where they lie, whichever window is asked for: two windows agree on what both see. Where tiles overlap,
    their probabilities are averaged as `segtool.windows.weights` says, and as `segtool eval --slide` does. Each tile is
    run once, if windows come from the top to the bottom.

    Args:
        logits: of an image [h,w,B] the network's, float32 [C,h,w], before any dense CRF.
        stride: tiles begin at multiples of it, see `segtool.windows.spans`.
        folder: for the answers to tiles that do not fit into memory.

    Raises:
        SegtoolError: tiles that do not overlap as they should, or are smaller than the stride.
    """

    def __init__(self, logits: Logits, source: Source, tiles: Tiles, stride: int, folder: Path) -> None:
        check_tiles(tiles)
        if min(tiles.height, tiles.width) < stride:
            mend = f"{stride} at least, the network's stride"
            raise SegtoolError(f"tiles of {tiles.height}x{tiles.width}", where="--tile", mend=mend)
        self._logits, self._source, self._folder = logits, source, folder
        self._rows = spans(source.height, tiles.height, tiles.overlap, stride)
        self._columns = spans(source.width, tiles.width, tiles.overlap, stride)
        self._row_weights, self._column_weights = weights(self._rows), weights(self._columns)
        self._kept: dict[Place, NDArray[np.float32]] = {}
        self._files: dict[Place, Path] = {}
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

    def forget_above(self, row: int) -> None:
        """Tiles that end above a row are not asked for again."""
        ended = {span.start for span in self._rows if span.stop <= row}
        for place in [place for place in self._kept if place[0] in ended]:
            self._size -= self._kept.pop(place).nbytes
        for place in [place for place in self._files if place[0] in ended]:
            self._files.pop(place).unlink(missing_ok=True)

    def _tile(self, row: Span, column: Span) -> NDArray[np.float32]:
        """The probabilities of a tile."""
        place = row.start, column.start
        if place in self._kept:
            return self._kept[place]
        if place in self._files:
            return np.load(self._files[place], mmap_mode="r")
        image = self._source.read(slice(row.start, row.stop), slice(column.start, column.stop))
        found = log_softmax(self._logits(np.ascontiguousarray(image)))
        np.exp(found, out=found)
        if self._size + found.nbytes <= _KEPT:
            self._kept[place] = found
            self._size += found.nbytes
        else:
            self._store(place, found)
        return found

    def _store(self, place: Place, found: NDArray[np.float32]) -> None:
        path = self._folder / f"{place[0]}_{place[1]}.npy"
        try:
            np.save(path, found)
        except OSError as error:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            mend = f"{error.strerror}; the answers to a row of tiles must fit: choose another --out, or smaller tiles"
            raise NoMoreRoom("cannot write", where=self._folder, mend=mend) from error
        self._files[place] = path


def _overlap(span: Span, window: slice) -> tuple[slice, slice]:
    """What a tile and a window have in common: as places of the tile, and of the window."""
    first, last = max(span.start, window.start), min(span.stop, window.stop)
    return slice(first - span.start, last - span.start), slice(first - window.start, last - window.start)
