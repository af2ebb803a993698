"""Optimizers and learning-rate schedules by their names in the configuration."""

from typing import Any

import torch
from torch.optim import lr_scheduler

from segtool.train.config import StageConfig

Groups = list[dict[str, Any]]
_PLATEAU_METRIC = "miou"


def build_optimizer(config: StageConfig, groups: Groups, *, fused: bool = True) -> torch.optim.Optimizer:
    """The optimizer of a stage.

    Args:
        groups: parameter groups; each has its own `lr`, and its own `weight_decay` if that is not the stage's.
        fused: Adam in one kernel, which is faster; mixed precision cannot clip the gradients of one.
    """
    decay = config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, weight_decay=decay)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, weight_decay=decay, fused=fused)
    return torch.optim.AdamW(groups, weight_decay=decay, fused=fused)


def build_schedule(config: StageConfig, optimizer: torch.optim.Optimizer, steps: int) -> dict[str, Any] | None:
    """The schedule of a stage as Lightning wants it; None for a constant rate.

    Args:
        steps: optimizer steps in all epochs.
    """
    steps, epochs = max(1, steps), max(1, config.epochs)
    if config.schedule == "constant":
        return None
    if config.schedule == "plateau":
        # After every validation; the metric is the mIoU, after the CRF where there is one.
        plateau = lr_scheduler.ReduceLROnPlateau(optimizer, "max", config.step_factor, config.step_every)
        rhythm = {"interval": "epoch", "frequency": validation_rhythm(config)}
        return {"scheduler": plateau, "monitor": _PLATEAU_METRIC, **rhythm}
    if config.schedule == "one-cycle":
        rates = [group["lr"] for group in optimizer.param_groups]
        cycle = lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=config.warmup)
        return {"scheduler": cycle, "interval": "step"}
    if config.schedule == "step":
        every = max(1, round(config.step_every * steps / epochs))
        falling: Any = lr_scheduler.StepLR(optimizer, every, config.step_factor)
    elif config.schedule == "cosine":
        falling = lr_scheduler.CosineAnnealingLR(optimizer, steps)
    else:
        falling = lr_scheduler.PolynomialLR(optimizer, steps, power=0.9)
    return {"scheduler": falling, "interval": "step"}


def validation_rhythm(config: StageConfig) -> int:
    """Epochs between validations: the largest number up to `validate_every` that divides the epochs, so that the last
    epoch is validated."""
    limit = min(config.validate_every, config.epochs)
    return next(n for n in range(limit, 0, -1) if config.epochs % n == 0)
