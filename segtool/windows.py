"""Windows that cover an image and overlap, and how much each counts where they do."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Span(NamedTuple):
    """One window along one side: it reads start..stop, and what it alone decides is first..last."""

    start: int
    stop: int
    first: int
    last: int


def spans(side: int, window: int, overlap: int, stride: int = 1) -> list[Span]:
    """Windows along a side; the last is moved back to end with it.

    Args:
        stride: windows begin at multiples of it: a network that samples its input at every so many pixels samples the
            same ones in all windows. The last one is smaller then, unless the side is a multiple, too.
    """
    if side <= window:
        return [Span(0, side, 0, side)]
    step = max(stride, (window - overlap) // stride * stride)
    last = -(-(side - window) // stride) * stride
    return spans_from([*range(0, last, step), last], side, window)


def spans_from(starts: Sequence[int], side: int, window: int) -> list[Span]:
    """Windows with these starts, which rise; those that would reach beyond the side end with it.

    A seam lies in the middle of what both windows have seen.
    """
    stops = [min(start + window, side) for start in starts]
    seams = [0, *((stop + start) // 2 for stop, start in zip(stops, starts[1:], strict=False)), side]
    return [Span(*one) for one in zip(starts, stops, seams, seams[1:], strict=False)]


def weights(windows: Sequence[Span]) -> list[NDArray[np.float32]]:
    """How much each window counts at each of its pixels, float32 [stop - start] in 0..1.

    Nothing where only a quarter of an overlap lies between the pixel and the window's border, beyond which the network
    could not see; all of it from three quarters on; between them it rises evenly. At the image's own borders, and
    where no other window sees a pixel, all of it.
    """
    found = [np.ones(window.stop - window.start, np.float32) for window in windows]
    for (before, one), (after, two) in itertools.pairwise(zip(windows, found, strict=True)):
        shared = before.stop - after.start
        if shared > 0:
            rise = np.clip((np.arange(shared, dtype=np.float32) + 0.5) / shared * 2 - 0.5, 0, 1)
            two[:shared] *= rise
            one[len(one) - shared :] *= 1 - rise
    return found


def touching(windows: Sequence[Span], first: int, last: int) -> Iterator[int]:
    """The places of those windows that see a pixel of first..last."""
    return (i for i, window in enumerate(windows) if window.start < last and window.stop > first)
