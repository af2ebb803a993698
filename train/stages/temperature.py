"""Honest confidence: one number that divides the logits of Q_T, fitted on images that nothing was learned from.

Temperature scaling is that of Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017), section 4.2. The mean
field of a CRF is surer of itself than the network whose logits it takes: messages of neighbours that agree are added up
as if they were independent. Division changes no label.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor

from segtool.data import SegmentationDataset, even_choice
from segtool.train.networks import Segmenter
from segtool.train.predict import image_tensor

_IMAGES = 100
_PIXELS = 4096  # of each image
_RANGE: Any = (math.log(0.05), math.log(20.0))


class _Pixels(NamedTuple):
    """Logits of the network and, at temperature 1, of its last CRF, each [P,C], and labels [P]."""

    unary: Tensor
    refined: Tensor
    labels: Tensor


def fit_temperature(segmenter: Segmenter, images: SegmentationDataset) -> float:
    """The least temperature at which the CRF is no surer than the labels of an even choice of images and pixels allow,
    and no surer, for its accuracy, than its network.

    On images unlike these both are surer than they should be. The second condition keeps the CRF from adding to it.

    Args:
        segmenter: with a CRF, in eval mode, on any device. Its present temperature does not matter.
        images: that neither network nor CRF has learned from.

    Returns:
        0.05..20; 1 if the images have no labels.
    """
    found = [_pixels(segmenter, images, index) for index in even_choice(len(images), _IMAGES)]
    pixels = _Pixels(*(torch.cat(parts) for parts in zip(*found, strict=True)))
    if not len(pixels.labels):
        return 1.0
    return math.exp(max(_likeliest(pixels), _as_sure_as_the_network(pixels)))


def _likeliest(pixels: _Pixels) -> float:
    """The logarithm of the temperature with the least cross-entropy."""

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(pixels.refined / math.exp(log_temperature), pixels.labels))

    return float(minimize_scalar(loss, bounds=_RANGE, method="bounded", options={"xatol": 1e-4}).x)


def _as_sure_as_the_network(pixels: _Pixels) -> float:
    """The logarithm of the temperature at which mean confidence exceeds accuracy by as much as the network's does."""
    excess = _excess(pixels.unary, pixels.labels)

    def more(log_temperature: float) -> float:
        return _excess(pixels.refined / math.exp(log_temperature), pixels.labels) - excess

    least, largest = _RANGE
    if more(least) <= 0:
        return float(least)
    return float(brentq(more, least, largest, xtol=1e-4)) if more(largest) < 0 else float(largest)


def _excess(logits: Tensor, labels: Tensor) -> float:
    confidence, predicted = logits.softmax(1).max(1)
    return float(confidence.double().mean() - (predicted == labels).double().mean())


@torch.inference_mode()
def _pixels(segmenter: Segmenter, images: SegmentationDataset, index: int) -> _Pixels:
    """Some labelled pixels of an image."""
    assert segmenter.last_crf is not None
    sample = images.load(index)
    unary, _, refined = segmenter(image_tensor(sample.image, segmenter.mean.device))
    labelled = np.flatnonzero(sample.labels != images.ignore_index)
    chosen = np.random.default_rng(index).choice(labelled, min(_PIXELS, len(labelled)), replace=False)
    before, after = (z[0].flatten(1)[:, chosen].T.cpu() for z in (unary, refined * segmenter.last_crf.temperature))
    return _Pixels(before, after, torch.from_numpy(sample.labels.ravel()[chosen]).long())
