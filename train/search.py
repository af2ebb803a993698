"""Stage 2, first half: kernel widths and Potts weights by search over a slice of the training images."""

import itertools
from collections.abc import Callable
from typing import Any

import torch

from segtool.train.config import CrfStageConfig
from segtool.train.device import device
from segtool.train.losses import SegmentationLoss
from segtool.train.models import DenseCRF, KernelWidths
from segtool.train.unary_crops import UnaryCrop


@torch.no_grad()
def search_crf(
    crops: list[UnaryCrop],
    config: CrfStageConfig,
    criterion: SegmentationLoss,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[KernelWidths, tuple[float, float], list[dict[str, Any]]]:
    """Tries every combination of the configured widths and weights.

    Returns:
        The widths and (spatial, bilateral) weights with the lowest loss of Q_T, and all trials.
    """
    batches = [[part[None].to(device()) for part in crop] for crop in crops]
    classes = crops[0][0].shape[0]
    grid = list(itertools.product(config.spatial_gamma, config.bilateral_alpha, config.bilateral_beta, config.weight))
    trials: list[dict[str, Any]] = []
    for done, (gamma, alpha, beta, weight) in enumerate(grid):
        widths = KernelWidths(gamma, alpha, beta)
        crf = DenseCRF(classes, widths, weight, iterations=config.iterations).to(device())
        losses = [criterion(crf(logits, image), labels) for logits, image, labels in batches]
        loss = float(torch.stack(losses).mean())
        trials.append({**widths._asdict(), "weights": list(weight), "loss": loss})
        progress(done + 1, len(grid))
    best = min(trials, key=lambda trial: trial["loss"])
    widths = KernelWidths(*(best[name] for name in KernelWidths._fields))
    return widths, (best["weights"][0], best["weights"][1]), trials
