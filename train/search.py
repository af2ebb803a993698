"""Stage 2, first half: kernel widths and Potts weights by search over a slice of the training images."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from segtool.train.config import CrfStageConfig
from segtool.train.device import device
from segtool.train.losses import SegmentationLoss
from segtool.train.models import DenseCRF, KernelWidths
from segtool.train.unary_crops import UnaryCrop

# How far the search goes beyond the widths that it is given. Narrower kernels than these have nothing to sum, and the
# time of the spatial one grows with its width.
_LIMITS = {"spatial_gamma": (0.25, 16.0), "bilateral_alpha": (2.0, 320.0), "bilateral_beta": (2.0, 255.0)}
Trial = dict[str, Any]


@torch.no_grad()
def search_crf(
    crops: Sequence[UnaryCrop], config: CrfStageConfig, criterion: SegmentationLoss
) -> tuple[KernelWidths, tuple[float, float], list[Trial]]:
    """Tries every combination of the configured widths and weights. While the best has the least or the largest choice
    of a width, the search goes on beyond it. A width with one choice stays as it is.

    Returns:
        The widths and (spatial, bilateral) weights with the lowest loss of Q_T, and all trials.
    """
    batches = [[part[None].to(device()) for part in crop] for crop in crops]

    def tried(widths: KernelWidths, weights: tuple[float, float]) -> Trial:
        return {
            **widths._asdict(),
            "weights": list(weights),
            "loss": _loss(batches, widths, weights, config, criterion),
        }

    ladders = {name: sorted(getattr(config, name)) for name in KernelWidths._fields}
    grid = itertools.product(*ladders.values(), config.weight)
    trials = {(*widths, weights): tried(KernelWidths(*widths), weights) for *widths, weights in grid}
    while True:
        (*found, weights), _ = min(trials.items(), key=lambda item: item[1]["loss"])
        best = KernelWidths(*found)
        untried = [widths for widths in _around(best, ladders) if (*widths, weights) not in trials]
        if not untried:
            return best, weights, [*trials.values()]
        trials |= {(*widths, weights): tried(widths, weights) for widths in untried}


def _around(best: KernelWidths, ladders: dict[str, list[float]]) -> Iterator[KernelWidths]:
    """The widths with one more or one less step of one of them. A step beyond a ladder's end is as long as its last."""
    for name, ladder in ladders.items():
        if len(ladder) < 2:
            continue
        place, (least, largest) = ladder.index(getattr(best, name)), _LIMITS[name]
        if place == 0:
            ladder.insert(0, ladder[0] * ladder[0] / ladder[1])
            place = 1
        if place == len(ladder) - 1:
            ladder.append(ladder[-1] * ladder[-1] / ladder[-2])
        for width in (ladder[place - 1], ladder[place + 1]):
            if least <= width <= largest:
                yield best._replace(**{name: width})


def _loss(
    batches: Sequence[Sequence[Tensor]],
    widths: KernelWidths,
    weights: tuple[float, float],
    config: CrfStageConfig,
    criterion: SegmentationLoss,
) -> float:
    crf = DenseCRF(batches[0][0].shape[1], widths, weights, iterations=config.iterations).to(device())
    losses = [criterion(crf(logits, image), labels) for logits, image, labels in batches]
    return float(torch.stack(losses).mean())
