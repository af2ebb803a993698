"""The training loss: cross-entropy, focal and Dice, each with its weight; void is left out of all."""

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segtool.train.config import ClassWeights, LossConfig
from segtool.train.data import SegmentationDataset
from segtool.train.data.inspect import statistics


class SegmentationLoss(nn.Module):
    """cross_entropy * CE + focal * Focal + dice * Dice of logits and labels.

    Args:
        config: the weights.
        frequency: share of each class in the training pixels, [C].
        ignore_index: the label of void.
    """

    class_weight: Tensor | None

    def __init__(self, config: LossConfig, frequency: NDArray[np.float64], ignore_index: int) -> None:
        super().__init__()
        self.classes, self.ignore_index, self.config = len(frequency), ignore_index, config
        weights = class_weights(config.class_weights, frequency)
        weight = None if config.class_weights == "none" else torch.from_numpy(weights).float()
        self.register_buffer("class_weight", weight, persistent=False)
        self._dice = smp.losses.DiceLoss("multiclass", ignore_index=ignore_index)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """logits [N,C,H,W], labels int64 [N,H,W]; a scalar. A crop of nothing but void gives zero."""
        logits, config = logits.float(), self.config
        if not bool((labels != self.ignore_index).any()):
            return logits.sum() * 0.0
        loss = logits.new_zeros(())
        if config.cross_entropy:
            cross_entropy = F.cross_entropy(logits, labels, self.class_weight, ignore_index=self.ignore_index)
            loss = loss + config.cross_entropy * cross_entropy
        if config.focal:
            loss = loss + config.focal * self._focal(logits, labels)
        if config.dice:
            # Dice is a ratio of areas: every other pixel gives the same at a quarter of the cost.
            loss = loss + config.dice * self._dice(logits[:, :, ::2, ::2], labels[:, ::2, ::2])
        return loss

    def _focal(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(1 - p)^gamma CE, p the probability of the true class, averaged as weighted cross-entropy is: Lin et al.,
        "Focal Loss for Dense Object Detection" (2017), equation 5."""
        plain = F.cross_entropy(logits, labels, ignore_index=self.ignore_index, reduction="none")
        focused = (1 - torch.exp(-plain)) ** self.config.focal_gamma * plain
        known = labels != self.ignore_index
        if self.class_weight is None:
            return focused[known].mean()
        weight = self.class_weight[labels[known]]
        return (weight * focused[known]).sum() / weight.sum()


def class_weights(name: ClassWeights, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the classes, [C], with a mean of 1.

    Args:
        name: `none`: all 1. `log`: 1 / log(1.1 + f), after Paszke et al., "ENet" (2016), section 5.2, with a gentler
            constant. `median`: median f / f, Eigen and Fergus (2015). `inverse`: 1 / f.
        frequency: f, the share of each class among the labelled pixels, [C]. A class that never occurs weighs as
            much as the heaviest that does.
    """
    frequency = np.asarray(frequency, np.float64)
    present = frequency > 0
    if name == "none" or not present.any():
        return np.ones(len(frequency))
    if name == "log":
        weights = 1 / np.log(1.1 + frequency)
    else:
        weights = np.divide(np.median(frequency[present]), frequency, out=np.zeros(len(frequency)), where=present)
        weights[~present] = weights.max()
    return weights / weights.mean()


def class_frequency(dataset: SegmentationDataset, images: int = 200) -> NDArray[np.float64]:
    """Share of each class among the labelled pixels of an even choice of at most `images` images, [C]."""
    return statistics(dataset, limit=images).frequency
