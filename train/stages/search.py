"""Stage 2, first half: kernel widths and Potts weights by search over a slice of the training images."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from segtool.crf.layer import DenseCRF, KernelWidths
from segtool.data import SegmentationDataset, even_choice
from segtool.train.config.settings import CrfStageConfig, TrainConfig
from segtool.train.device import device
from segtool.train.losses import SegmentationLoss
from segtool.train.networks import Segmenter
from segtool.train.stages.loaders import unary_crops
from segtool.train.stages.unary_crops import UnaryCrop

# How far the search goes beyond what it is given. Narrower kernels have nothing to sum, the time of the spatial one
# grows with its width, and of kernels wider than the crops the crops say nothing.
_LIMITS = {
    "spatial_gamma": (0.25, 16.0),
    "bilateral_alpha": (2.0, 320.0),
    "bilateral_beta": (2.0, 255.0),
    "weights": (0.05, 20.0),
}
_IN_PIXELS = ("spatial_gamma", "bilateral_alpha")
_GAIN = 0.002  # of the loss, for which it is worth going on
Trial = dict[str, Any]  # a choice from each ladder, and "loss"
Ladders = dict[str, list[Any]]


class Searched(NamedTuple):
    """The widths and (spatial, bilateral) Potts weights with the lowest loss of Q_T, and all trials."""

    widths: KernelWidths
    weights: tuple[float, float]
    trials: list[Trial]


def search_on_images(
    images: SegmentationDataset, segmenter: Segmenter, config: TrainConfig, criterion: SegmentationLoss
) -> Searched:
    """Searches on crops of an even choice of the training images. Afterwards segmenter and loss lie on the CPU."""
    crops = unary_crops(config, images, segmenter.to(device()))
    chosen = [crops[i] for i in even_choice(len(crops), config.crf.search_images)]
    found = search_crf(chosen, config.crf, criterion.to(device()))
    segmenter.cpu()
    criterion.cpu()
    return found


def crf_to_learn(classes: int, widths: KernelWidths, weights: tuple[float, float], config: CrfStageConfig) -> DenseCRF:
    """The CRF that was found by the search, with what is then learned of it by gradient."""
    return DenseCRF(
        classes,
        widths,
        weights,
        compatibility=config.compatibility,
        learn_widths=config.learn_widths,
        iterations=config.inference_iterations,
    )


@torch.no_grad()
def search_crf(crops: Sequence[UnaryCrop], config: CrfStageConfig, criterion: SegmentationLoss) -> Searched:
    """Tries every combination of the configured widths and weights. While the best has the least or the largest choice
    of one, the search goes on beyond it, as long as that lowers the loss by a share worth naming. What has a single
    choice stays as it is.
    """
    batches = [[part[None].to(device()) for part in crop] for crop in crops]
    ladders: Ladders = {name: sorted(getattr(config, name)) for name in KernelWidths._fields}
    ladders["weights"] = sorted(config.weight)
    trials: dict[tuple, Trial] = {}
    side = max(max(labels.shape) for *_, labels in crops)
    limits = _LIMITS | {name: (_LIMITS[name][0], min(_LIMITS[name][1], side)) for name in _IN_PIXELS}
    wanted, best = list(itertools.product(*ladders.values())), None
    while wanted:
        for choice in wanted:
            loss = _loss(batches, KernelWidths(*choice[:3]), choice[3], config, criterion)
            trials[choice] = {**dict(zip(ladders, choice, strict=True)), "loss": loss}
        nearest = min(wanted, key=lambda choice: trials[choice]["loss"])
        if best is not None and trials[nearest]["loss"] > (1 - _GAIN) * trials[best]["loss"]:
            break
        best = nearest
        wanted = [choice for choice in _around(best, ladders, limits) if choice not in trials]
    assert best is not None
    return Searched(KernelWidths(*best[:3]), best[3], [*trials.values()])


def _around(best: tuple, ladders: Ladders, limits: dict[str, tuple[float, float]]) -> Iterator[tuple]:
    """The choices with one more or one less step of one ladder. A step beyond a ladder's end is as long as its last."""
    for axis, (name, ladder) in enumerate(ladders.items()):
        if len(ladder) < 2:
            continue
        if best[axis] == ladder[0]:
            ladder.insert(0, _after(ladder[1], ladder[0]))
        if best[axis] == ladder[-1]:
            ladder.append(_after(ladder[-2], ladder[-1]))
        place, (least, largest) = ladder.index(best[axis]), limits[name]
        for step in (ladder[place - 1], ladder[place + 1]):
            if least <= np.max(step) <= largest:
                yield (*best[:axis], step, *best[axis + 1 :])


def _after(a: Any, b: Any) -> Any:
    """What comes after a and b at the same ratio; of pairs, after each."""
    if isinstance(b, tuple):
        return tuple(_after(*pair) for pair in zip(a, b, strict=True))
    return b * b / a if a else 0.0


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
