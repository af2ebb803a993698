"""An image beside its truth and what a model makes of it."""

from segtool.data import Sample
from segtool.drawing import colorize, overlay
from segtool.images import RGB
from segtool.prediction import Prediction

_OPACITY = 0.75


def pictures_of(sample: Sample, prediction: Prediction, colors: list[tuple[int, int, int]]) -> dict[str, RGB]:
    """The image, its truth, and the labels over the image: before and after each CRF.

    Returns:
        each uint8 [H,W,3] under its caption, in the order in which they are shown.
    """
    pictures = {"image": sample.image, "truth": colorize(sample.labels, colors)}
    found = {"prediction": prediction.labels}
    if prediction.unary_labels is not None:
        between = {} if prediction.context_labels is None else {"after context": prediction.context_labels}
        found = {"before CRF": prediction.unary_labels, **between, "after CRF": prediction.labels}
    return pictures | {name: overlay(sample.image, labels, colors, _OPACITY) for name, labels in found.items()}
