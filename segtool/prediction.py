"""What every backend answers for one image."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

VOID = 255  # in masks: no class


class Prediction(NamedTuple):
    """One segmented image.

    Attributes:
        labels: uint8 [H,W], class ids.
        confidence: float32 [H,W], probability of the winning class.
        unary_labels: uint8 [H,W], class ids of the network alone, before any CRF; None for a model without one.
        probabilities: float32 [C,H,W]; None unless the backend was asked for them.
        unary_confidence: float32 [H,W], probability of the winning class before any CRF; None without a CRF, and from
            an exported model, which does not give it.
        context_labels, context_confidence: the same between the contextual and the dense CRF; None for a model without
            either.
    """

    labels: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    unary_labels: NDArray[np.uint8] | None = None
    probabilities: NDArray[np.float32] | None = None
    unary_confidence: NDArray[np.float32] | None = None
    context_labels: NDArray[np.uint8] | None = None
    context_confidence: NDArray[np.float32] | None = None


def voided(prediction: Prediction, missing: NDArray[np.bool_] | None) -> Prediction:
    """The prediction with void where the image [H,W] has no data; None: it has some everywhere."""
    if missing is None:
        return prediction
    return prediction._replace(labels=np.where(missing, np.uint8(VOID), prediction.labels))


def sure(prediction: Prediction, threshold: float | None) -> Prediction:
    """The prediction with void where the winning class is less probable than `threshold`; None: as it is."""
    if threshold is None:
        return prediction
    return prediction._replace(labels=np.where(prediction.confidence < threshold, np.uint8(VOID), prediction.labels))
