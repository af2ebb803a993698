"""Boundaries of label maps: where they lie, how far pixels are from them, and how well two maps' boundaries match."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]


def boundary_pixels(labels: Labels) -> Mask:
    """Pixels of [H,W] that have a 4-neighbour of another label."""
    edges = np.zeros(labels.shape, bool)
    for below, above, change in (
        (edges[:-1], edges[1:], labels[:-1] != labels[1:]),
        (edges[:, :-1], edges[:, 1:], labels[:, :-1] != labels[:, 1:]),
    ):
        below |= change
        above |= change
    return edges


def known_boundary(truth: Labels, classes: int) -> Mask:
    """Pixels of [H,W] where a boundary can be known: neither void nor beside it."""
    void = truth >= classes
    known = ~void
    known[1:] &= ~void[:-1]
    known[:-1] &= ~void[1:]
    known[:, 1:] &= ~void[:, :-1]
    known[:, :-1] &= ~void[:, 1:]
    return known


def match_boundaries(predicted: Labels, truth: Labels, classes: int, tolerances: Sequence[int]) -> Counts:
    """Counts for the boundary F-score of Csurka et al., "What is a good evaluation measure for semantic segmentation?"
    (BMVC 2013).

    A boundary pixel of a class is a pixel of it with a 4-neighbour of another. It is matched when the other map has a
    boundary pixel of the same class within a Euclidean distance of the tolerance.

    Args:
        predicted: class ids [H,W].
        truth: class ids [H,W]; void (>= classes), and what lies beside it, is left out.
        tolerances: K, in pixels, ascending.

    Returns:
        int64 [K,4,C]: predicted boundary pixels, those matched, true boundary pixels, those matched.
    """
    known = known_boundary(truth, classes)
    maps = [np.where(boundary_pixels(labels) & known, labels, np.uint8(255)) for labels in (predicted, truth)]
    counts = np.zeros((len(tolerances), 4, classes), np.int64)
    for side, (own, other) in enumerate((maps, maps[::-1])):
        at, distance = _nearest_ring(own, other, tolerances)
        labels = own[tuple(at)]
        counts[:, 2 * side] = np.bincount(labels, minlength=classes)[:classes]
        for k in range(len(tolerances)):
            counts[k, 2 * side + 1] = np.bincount(labels[distance <= k], minlength=classes)[:classes]
    return counts


def _nearest_ring(own: Labels, other: Labels, tolerances: Sequence[int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For the boundary pixels of `own`, [2,P], the first tolerance (its index; K: none) within which `other` has one
    of the same class. Only pixels without a match go on to the next ring."""
    reach = tolerances[-1]
    padded = np.pad(other, reach, constant_values=255)
    width = padded.shape[1]
    at = np.array(np.nonzero(own != 255))
    index = (at[0] + reach) * width + at[1] + reach
    labels = own[tuple(at)]
    ring = np.full(len(labels), len(tolerances), np.intp)
    left = np.arange(len(labels))
    for k, offsets in enumerate(_rings(tolerances, width)):
        found = np.zeros(len(left), bool)
        for offset in offsets:
            found |= padded.ravel()[index[left] + offset] == labels[left]
        ring[left[found]] = k
        left = left[~found]
    return at, ring


def _rings(tolerances: Sequence[int], width: int) -> list[NDArray[np.intp]]:
    """Flat offsets of the pixels at each tolerance that are not within the one before it."""
    reach = tolerances[-1]
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    square = y**2 + x**2
    limits = [-1, *(t**2 for t in tolerances)]
    return [(y * width + x)[(square > a) & (square <= b)] for a, b in pairwise(limits)]


def boundary_bands(truth: Labels, classes: int, widths: Sequence[int]) -> NDArray[np.intp]:
    """Which trimap band each pixel of [H,W] is in: the index of the least width that reaches it, K if none does.

    A pixel's distance is that to the nearest boundary pixel between two classes of the truth, Euclidean.
    """
    reach = widths[-1]
    edges = boundary_pixels(truth) & known_boundary(truth, classes)
    far = np.uint8(reach + 1)
    column = np.full((edges.shape[0] + 2 * reach, edges.shape[1]), far)
    column[reach : column.shape[0] - reach][edges] = 0
    vertical = np.full(edges.shape, far)
    for dy in range(-reach, reach + 1):
        shifted = column[reach + dy : reach + dy + edges.shape[0]]
        np.minimum(vertical, np.where(shifted == 0, np.uint8(abs(dy)), far), out=vertical)
    padded = np.pad(vertical.astype(np.uint16) ** 2, ((0, 0), (reach, reach)), constant_values=int(far) ** 2)
    square = np.full(edges.shape, int(far) ** 2, np.uint16)
    for dx in range(-reach, reach + 1):
        np.minimum(square, padded[:, reach + dx : reach + dx + edges.shape[1]] + np.uint16(dx * dx), out=square)
    return np.searchsorted([w**2 for w in widths], square)
