"""Scores from exact integer counts: mean IoU, pixel accuracy, boundary F."""

import torch
import torch.nn.functional as F
from torch import Tensor

from segtool.card import Scores


class Scorer:
    """Accumulates counts over images of any size; the scores are of the whole set, not averages of images.

    Args:
        classes: C. Labels >= C (void) count nowhere.
        tolerance: of the boundary F-score, in pixels.
    """

    def __init__(self, classes: int, tolerance: int = 2) -> None:
        self.classes, self.tolerance = classes, tolerance
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64)  # rows: truth
        # Boundary pixels: predicted, predicted and near a true one, true, true and near a predicted one.
        self.boundary = torch.zeros(4, classes, dtype=torch.int64)
        self.images = 0

    def update(self, predicted: Tensor, truth: Tensor) -> None:
        """Adds one image; both uint8 or int64 [H,W]."""
        self.images += 1
        valid = truth < self.classes
        index = truth[valid].long() * self.classes + predicted[valid].long()
        self.confusion += torch.bincount(index, minlength=self.classes**2).reshape(self.classes, self.classes)
        self.boundary += boundary_counts(predicted, truth, self.classes, self.tolerance)

    def class_iou(self) -> Tensor:
        """IoU of each class, [C]; NaN where a class is in neither truth nor prediction."""
        both = self.confusion.diagonal().double()
        return both / (self.confusion.sum(0) + self.confusion.sum(1) - both)

    def class_boundary_f(self) -> Tensor:
        """Boundary F of each class, [C]; NaN where neither side has a boundary."""
        predicted, predicted_near, true, true_near = self.boundary.double()
        precision = torch.where(predicted > 0, predicted_near / predicted, 0.0)
        recall = torch.where(true > 0, true_near / true, 0.0)
        f = torch.where(precision + recall > 0, 2 * precision * recall / (precision + recall), 0.0)
        return torch.where(predicted + true > 0, f, torch.nan)

    def compute(self) -> Scores:
        """mIoU and boundary F averaged over the classes that occur; 0 when nothing is labelled."""
        total = int(self.confusion.sum())
        return Scores(
            miou=_mean(self.class_iou()),
            pixel_accuracy=float(self.confusion.diagonal().sum()) / max(total, 1),
            boundary_f=_mean(self.class_boundary_f()),
        )


def _mean(values: Tensor) -> float:
    mean = float(values.nanmean())
    return 0.0 if mean != mean else mean


def boundary_counts(predicted: Tensor, truth: Tensor, classes: int, tolerance: int) -> Tensor:
    """Counts for the boundary F-score of Csurka et al. (2013), [4,C] int64; see `Scorer.boundary`.

    A boundary pixel of a class has a 4-neighbour of another class. Near means a Euclidean distance of at
    most `tolerance` pixels. Void, and pixels beside it, are left out: no boundary is known there.
    """
    ids = torch.arange(classes)[:, None, None]
    known = truth < classes
    known &= ~_beside(~known[None])[0]
    edges_p = _edges(predicted[None] == ids) & known
    edges_t = _edges(truth[None] == ids) & known
    near_p, near_t = _dilate(edges_p, tolerance), _dilate(edges_t, tolerance)
    maps = (edges_p, edges_p & near_t, edges_t, edges_t & near_p)
    return torch.stack([m.flatten(1).sum(1) for m in maps])


def _beside(mask: Tensor) -> Tensor:
    """Pixels of [K,H,W] that have a 4-neighbour in the mask."""
    beside = torch.zeros_like(mask)
    beside[:, 1:] |= mask[:, :-1]
    beside[:, :-1] |= mask[:, 1:]
    beside[:, :, 1:] |= mask[:, :, :-1]
    beside[:, :, :-1] |= mask[:, :, 1:]
    return beside


def _edges(mask: Tensor) -> Tensor:
    return mask & _beside(~mask)


def _dilate(mask: Tensor, radius: int) -> Tensor:
    """Dilation with a disk: one pass of row maxima for each height of the disk."""
    padded = F.pad(mask.to(torch.uint8), (0, 0, radius, radius))
    out = torch.zeros_like(mask)
    height = mask.shape[1]
    for dy in range(-radius, radius + 1):
        half = int((radius**2 - dy**2) ** 0.5)
        rows = padded[:, radius + dy : radius + dy + height]
        wide = F.max_pool2d(rows.float(), (1, 2 * half + 1), stride=1, padding=(0, half))
        out |= wide > 0
    return out
