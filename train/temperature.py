"""Honest confidence: one number that divides the logits of Q_T, fitted on images that nothing was learned from.

Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017), section 4.2. The mean field of a CRF is surer of
itself than the network whose logits it takes: messages of neighbours that agree are added up as if they were
independent. Division changes no label.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from segtool.train.data import SegmentationDataset, even_choice
from segtool.train.models import Segmenter
from segtool.train.predict import image_tensor

_IMAGES = 100
_PIXELS = 4096  # of each image
_RANGE = (0.05, 20.0)


def fit_temperature(segmenter: Segmenter, images: SegmentationDataset) -> float:
    """The temperature with the lowest cross-entropy on an even choice of images and pixels.

    Args:
        segmenter: with a CRF, in eval mode, on any device. Its present temperature does not matter.
        images: that neither network nor CRF has learned from.

    Returns:
        0.05..20; 1 if the images have no labels.
    """
    found = [_pixels(segmenter, images, index) for index in even_choice(len(images), _IMAGES)]
    logits, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    if not len(labels):
        return 1.0

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / math.exp(log_temperature), labels))

    bounds = tuple(map(math.log, _RANGE))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x)


@torch.inference_mode()
def _pixels(segmenter: Segmenter, images: SegmentationDataset, index: int) -> tuple[Tensor, Tensor]:
    """Logits [P,C] of Q_T at temperature 1, and labels [P], of some labelled pixels of an image."""
    assert segmenter.crf is not None
    sample = images.load(index)
    logits = segmenter(image_tensor(sample.image, segmenter.mean.device))[1][0] * segmenter.crf.temperature
    labelled = np.flatnonzero(sample.labels != images.ignore_index)
    chosen = np.random.default_rng(index).choice(labelled, min(_PIXELS, len(labelled)), replace=False)
    return logits.flatten(1)[:, chosen].T.cpu(), torch.from_numpy(sample.labels.ravel()[chosen]).long()
