"""Boundaries of label maps: how far pixels are from them, and how well two maps' boundaries match."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from segtool.evaluation.library import call

Labels = NDArray[np.uint8]
Counts = NDArray[np.int64]


class Truth:
    """Labels with what the scores of every prediction need of them.

    A boundary pixel has a 4-neighbour of another label. Where there is void, and beside it, none is known.

    Args:
        labels: class ids [H,W]; `classes` and above is void.
        classes: C.
        tolerances: K of the boundary scores, 0..120 pixels, ascending.
    """

    def __init__(self, labels: Labels, classes: int, tolerances: Sequence[int]) -> None:
        self.labels, self.classes = np.ascontiguousarray(labels, np.uint8), classes
        self.tolerances = np.array(tolerances, np.int64)
        self.known = _known_boundary(self.labels, classes)

    @cached_property
    def bands(self) -> Labels:
        """Which trimap band each pixel of [H,W] is in: the index of the least tolerance that reaches it from a boundary
        between two classes, Euclidean; K if none does."""
        bands = np.empty_like(self.labels)
        count = len(self.tolerances)
        addresses = [a.ctypes.data for a in (self.labels, self.known, self.tolerances, bands)]
        call("boundary_bands", *addresses[:2], *bands.shape, addresses[2], count, addresses[3])
        return bands


def _known_boundary(truth: Labels, classes: int) -> NDArray[np.bool_]:
    """Pixels of [H,W] where a boundary can be known: neither void nor beside it."""
    void = truth >= classes
    known = ~void
    known[1:] &= ~void[:-1]
    known[:-1] &= ~void[1:]
    known[:, 1:] &= ~void[:, :-1]
    known[:, :-1] &= ~void[:, 1:]
    return known


def match_boundaries(predicted: Labels, truth: Truth) -> Counts:
    """Counts for the boundary F-score of Csurka et al., "What is a good evaluation measure for semantic segmentation?"
    (BMVC 2013).

    A boundary pixel is matched when the other map has a boundary pixel of the same class within a Euclidean distance of
    the tolerance.

    Args:
        predicted: class ids [H,W].

    Returns:
        int64 [K,4,C]: predicted boundary pixels, those matched, true boundary pixels, those matched.
    """
    predicted = np.ascontiguousarray(predicted, np.uint8)
    counts = np.zeros((len(truth.tolerances), 4, 256), np.int64)
    maps = [a.ctypes.data for a in (predicted, truth.labels, truth.known)]
    tolerances = truth.tolerances.ctypes.data, len(truth.tolerances)
    call("match_boundaries", *maps, *predicted.shape, *tolerances, counts.ctypes.data)
    return counts[:, :, : truth.classes]
