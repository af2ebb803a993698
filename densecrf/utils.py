"""Unary energies and features, as `pydensecrf.utils` has them."""

from collections.abc import Sequence
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segtool.errors import SegtoolError

Array = NDArray[np.float32]


def unary_from_labels(labels: ArrayLike, n_labels: int, gt_prob: float, zero_unsure: bool = True) -> Array:
    """Energies [C,N] of labels that are right with a probability.

    Args:
        labels: whole numbers of any shape, N of them.
        n_labels: C.
        gt_prob: that a label is right, between 0 and 1; the others share the rest.
        zero_unsure: 0 says nothing, and 1..C are the classes; otherwise 0..C-1 are.

    Raises:
        SegtoolError: another probability, or a label that is no class.
    """
    flat = np.asarray(labels).ravel()
    if not 0 < gt_prob < 1:
        raise SegtoolError(f"gt_prob is {gt_prob}", where="unary_from_labels", mend="between 0 and 1, such as 0.7")
    first = 1 if zero_unsure else 0
    least, most = (int(flat.min()), int(flat.max())) if flat.size else (0, 0)
    if flat.dtype.kind not in "iu" or least < 0 or most >= n_labels + first:
        known = f"{'0 for unsure, and ' if zero_unsure else ''}{first}..{n_labels - 1 + first}"
        raise SegtoolError(
            f"labels of {flat.dtype}, {least}..{most}", where="unary_from_labels", mend=f"they are {known}"
        )
    flat = flat.astype(np.int64)
    energies = np.full((n_labels, flat.size), -np.log((1 - gt_prob) / max(n_labels - 1, 1)), np.float32)
    energies[flat - first, np.arange(flat.size)] = -np.log(gt_prob)
    if zero_unsure:
        energies[:, flat == 0] = -np.log(1 / n_labels)
    return energies


def compute_unary(labels: ArrayLike, M: int, GT_PROB: float = 0.5) -> Array:
    """The old name of `unary_from_labels`; 0 is unsure."""
    return unary_from_labels(labels, M, GT_PROB)


def unary_from_softmax(sm: ArrayLike, scale: float | None = None, clip: float | None = 1e-5) -> Array:
    """Energies [C,N] of probabilities.

    Args:
        sm: [C,...]; probabilities of the classes.
        scale: how sure they are taken to be, 0..1: the rest is shared evenly. None: 1.
        clip: the least probability.

    Raises:
        SegtoolError: a scale that is not in 0..1, or numbers that are no probabilities.
    """
    probabilities = np.asarray(sm, np.float32)
    if scale is not None and not 0 < scale <= 1:
        raise SegtoolError(f"scale is {scale}", where="unary_from_softmax", mend="above 0, at most 1")
    if probabilities.ndim < 2 or not (probabilities >= 0).all() or not (probabilities <= 1 + 1e-4).all():
        mend = "[C,...] of 0..1; of logits take a softmax over the first axis before"
        raise SegtoolError("these are no probabilities", where=f"shape {list(probabilities.shape)}", mend=mend)
    if scale is not None:
        probabilities = scale * probabilities + (1 - scale) / len(probabilities)
    if clip is not None:
        probabilities = np.clip(probabilities, clip, 1.0)
    return np.ascontiguousarray(-np.log(probabilities).reshape(len(probabilities), -1), np.float32)


def softmax_to_unary(sm: ArrayLike, GT_PROB: float = 1) -> Array:
    """The old name of `unary_from_softmax`."""
    return unary_from_softmax(sm, None if GT_PROB == 1 else GT_PROB, clip=1e-5)


def create_pairwise_gaussian(sdims: Sequence[float], shape: Sequence[int]) -> Array:
    """Features [D,N] of the places of a grid with D axes.

    Args:
        sdims: standard deviation along each axis, in steps.
        shape: of the grid.
    """
    return _places(sdims, shape).reshape(len(shape), -1)


def create_pairwise_bilateral(
    sdims: Sequence[float], schan: float | Sequence[float], img: ArrayLike, chdim: int = -1
) -> Array:
    """Features [D+B,N] of the places of a grid with D axes, and of its B channels.

    Args:
        sdims: standard deviation along each axis, in steps.
        schan: that of the channels, or of each.
        img: the grid; with several channels along the axis `chdim`, and -1 for one channel without an axis.

    Raises:
        SegtoolError: as many standard deviations as there are no axes or channels, or one that is not positive.
    """
    image = np.asarray(img, np.float32)
    channels = image[None] if chdim == -1 else np.moveaxis(image, chdim, 0)
    widths = np.full(len(channels), schan, np.float32) if isinstance(schan, Real) else np.asarray(schan, np.float32)
    if widths.shape != (len(channels),) or not (widths > 0).all():
        mend = f"a positive number, or {len(channels)} of them"
        raise SegtoolError(f"schan is {schan}", where="create_pairwise_bilateral", mend=mend)
    features = channels / widths.reshape(-1, *[1] * (channels.ndim - 1))
    places = _places(sdims, channels.shape[1:])
    return np.ascontiguousarray(np.concatenate([places, features]).reshape(len(places) + len(channels), -1))


def _places(sdims: Sequence[float], shape: Sequence[int]) -> Array:
    """[D, *shape]."""
    if len(sdims) != len(shape) or not all(0 < width < np.inf for width in sdims):
        mend = f"{len(shape)} positive numbers, one for each axis"
        raise SegtoolError(f"sdims is {tuple(sdims)}", where=f"a grid of {tuple(shape)}", mend=mend)
    steps = np.meshgrid(*(np.arange(side, dtype=np.float32) for side in shape), indexing="ij")
    return np.stack([step / np.float32(width) for step, width in zip(steps, sdims, strict=True)])
