"""The training loss: cross-entropy, focal and Dice, each with its weight; void is left out of all."""

from collections.abc import Callable

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segtool.train.config.settings import LossConfig

_LEAST = 1e-7  # of 1 - p, below which focal loss has no gradient: that of x^gamma at 0 is none for gamma < 1


class SegmentationLoss(nn.Module):
    """cross_entropy * CE + focal * Focal + dice * Dice of logits and labels.

    Args:
        config: the weights of the terms.
        class_weight: of cross-entropy and focal loss, [C]; see `segtool.data.statistics.class_weights`.
        ignore_index: the label of void.
    """

    class_weight: Tensor

    def __init__(self, config: LossConfig, class_weight: NDArray[np.float64], ignore_index: int) -> None:
        super().__init__()
        self.classes, self.ignore_index, self.config = len(class_weight), ignore_index, config
        weight = torch.from_numpy(np.asarray(class_weight, np.float32))
        self.register_buffer("class_weight", weight, persistent=False)
        self._dice = smp.losses.DiceLoss("multiclass", ignore_index=ignore_index)

    def forward(self, logits: Tensor, labels: Tensor, average: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        """The loss, a scalar. A crop of nothing but void gives zero.

        Args:
            logits: [N,C,H,W].
            labels: int64 [N,H,W].
            average: of a scalar over all processes that share a batch. With it the mean of their cross-entropies and
                focal losses, and of the gradients, is that of the whole batch, wherever its void and rare classes lie.
        """
        logits, config, known = logits.float(), self.config, labels != self.ignore_index
        total = average(self.class_weight[labels[known]].sum()).clamp_min(torch.finfo(torch.float32).tiny)
        if not bool(known.any()):
            return logits.sum() * 0.0
        loss = logits.new_zeros(())
        if config.cross_entropy:
            loss = loss + config.cross_entropy * self._cross_entropy(logits, labels) / total
        if config.focal:
            loss = loss + config.focal * self._focal(logits, labels) / total
        if config.dice:
            # Dice is a ratio of areas: every other pixel gives the same at a quarter of the cost.
            loss = loss + config.dice * self._dice(logits[:, :, ::2, ::2], labels[:, ::2, ::2])
        return loss

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Summed over the pixels, each times the weight of its class."""
        return F.cross_entropy(logits, labels, self.class_weight, ignore_index=self.ignore_index, reduction="sum")

    def _focal(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(1 - p)^gamma CE, p the probability of the true class, summed as cross-entropy is: Lin et al.,
        "Focal Loss for Dense Object Detection" (2017), equation 5."""
        known = labels != self.ignore_index
        plain = F.cross_entropy(logits, labels, ignore_index=self.ignore_index, reduction="none")[known]
        missing = (-torch.expm1(-plain)).clamp_min(_LEAST)
        return (self.class_weight[labels[known]] * missing**self.config.focal_gamma * plain).sum()
