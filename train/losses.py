"""The training loss: class-weighted cross-entropy plus Dice."""

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segtool.train.config import LossConfig
from segtool.train.data import SegmentationDataset


class SegmentationLoss(nn.Module):
    """CE(logits, labels) + dice * Dice(logits, labels), void left out.

    Args:
        config: which class weights, and how much Dice.
        frequency: share of each class in the training pixels, [C].
        ignore_index: the label of void.
    """

    class_weight: Tensor | None

    def __init__(self, config: LossConfig, frequency: Tensor, ignore_index: int) -> None:
        super().__init__()
        self.classes, self.ignore_index, self.dice = len(frequency), ignore_index, config.dice
        weight = None
        if config.class_weights == "log":
            # After Paszke et al., "ENet" (2016), section 5.2, with a gentler constant.
            weight = 1.0 / torch.log(1.1 + frequency)
            weight = (weight / weight.mean()).float()
        self.register_buffer("class_weight", weight, persistent=False)
        self._dice = smp.losses.DiceLoss("multiclass", ignore_index=ignore_index)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """logits [N,C,H,W], labels int64 [N,H,W]; a scalar. A crop of nothing but void gives zero."""
        if not bool((labels != self.ignore_index).any()):
            return logits.sum() * 0.0
        loss = F.cross_entropy(logits, labels, weight=self.class_weight, ignore_index=self.ignore_index)
        if self.dice:
            # Dice is a ratio of areas: every other pixel gives the same at a quarter of the cost.
            loss = loss + self.dice * self._dice(logits[:, :, ::2, ::2], labels[:, ::2, ::2])
        return loss


def class_frequency(dataset: SegmentationDataset, images: int = 200) -> Tensor:
    """Share of each class among the labelled pixels of an even choice of at most `images` images, [C]."""
    count = torch.zeros(256, dtype=torch.int64)
    total = len(dataset)
    for i in range(min(images, total)):
        labels = dataset.load(i * total // min(images, total)).labels
        count += torch.bincount(torch.from_numpy(labels).flatten().long(), minlength=256)
    count[dataset.ignore_index] = 0
    share = count[: len(dataset.classes)].double()
    return share / share.sum().clamp(min=1)
