"""Where the CRF made an image worse: the contextual CRF, or which kernel of the dense one moved the labels."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.prediction import Prediction

CAUSES = ("spatial", "bilateral", "either", "both together", "context")


class Blame(NamedTuple):
    """What the CRFs did to an image.

    Attributes:
        harmed: pixels that were right before the CRF and are wrong after it.
        mended: the other way round.
        cause: the one of `CAUSES` that explains most harmed pixels; "" if there are none.
        shares: of the harmed pixels: wrong with the spatial kernel alone, with the bilateral one alone, with either of
            them alone, only with both together; wrong already after the contextual CRF. They sum to 1, or all are 0.
    """

    harmed: int
    mended: int
    cause: str
    shares: dict[str, float]


def blame_kernels(
    truth: NDArray[np.uint8], prediction: Prediction, by_kernel: dict[str, NDArray[np.uint8]], classes: int
) -> Blame:
    """Compares the labels with what each kernel alone would have made of them.

    Args:
        truth: class ids [H,W]; >= classes is void.
        prediction: with `unary_labels`.
        by_kernel: labels [H,W] with only the "spatial" and only the "bilateral" kernel of the dense CRF; empty without
            one.
    """
    assert prediction.unary_labels is not None
    between = prediction.context_labels
    if between is None:  # after the contextual CRF, if that is the only one, or before the dense one
        between = prediction.unary_labels if by_kernel else prediction.labels
    labelled = truth < classes
    was_right, is_right = prediction.unary_labels == truth, prediction.labels == truth
    harmed = labelled & was_right & ~is_right
    total, context = int(harmed.sum()), harmed & (between != truth)
    dense = harmed & ~context
    spatial, bilateral = (
        dense & (by_kernel.get(kernel, prediction.labels) != truth) for kernel in ("spatial", "bilateral")
    )
    masks = (spatial & ~bilateral, bilateral & ~spatial, spatial & bilateral, dense & ~spatial & ~bilateral, context)
    shares = {cause: int(mask.sum()) / max(total, 1) for cause, mask in zip(CAUSES, masks, strict=True)}
    cause = max(shares, key=lambda c: shares[c]) if total else ""
    return Blame(total, int((labelled & ~was_right & is_right).sum()), cause, shares)
