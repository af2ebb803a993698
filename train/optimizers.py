"""Optimizers and learning-rate schedules by their names in the configuration."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import get_ema_multi_avg_fn

from segtool.train.config.settings import StageConfig

Groups = list[dict[str, Any]]
_PLATEAU_METRIC = "miou"


def network_groups(network: nn.Module, rate: float) -> Groups:
    """The weights of a network at a rate; norms and biases, which have one axis, without weight decay."""
    return weight_groups(network, rate, "network", "norms_and_biases")


def weight_groups(module: nn.Module, rate: float, name: str, other: str | None = None) -> Groups:
    """What of a module is trained; `other` names the group of what has one axis, and no weight decay."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    flat = [weight for weight in weights if weight.ndim <= 1]
    groups: Groups = [
        {"name": name, "params": [weight for weight in weights if weight.ndim > 1], "lr": rate},
        {"name": other or f"{name}_biases", "params": flat, "lr": rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


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
    if config.schedule == "constant" or (config.schedule == "one-cycle" and steps < 3):
        return None
    if config.schedule == "plateau":
        # After every validation; the metric is the mIoU, after the CRF where there is one. PyTorch's patience is the
        # number of validations without a better one that are let pass.
        plateau = lr_scheduler.ReduceLROnPlateau(optimizer, "max", config.step_factor, config.step_every - 1)
        rhythm = {"interval": "epoch", "frequency": validation_rhythm(config)}
        return {"scheduler": plateau, "monitor": _PLATEAU_METRIC, **rhythm}
    if config.schedule == "one-cycle":
        return {"scheduler": _one_cycle(config, optimizer, steps), "interval": "step"}
    if config.schedule == "step":
        every = max(1, round(config.step_every * steps / epochs))
        falling: Any = lr_scheduler.StepLR(optimizer, every, config.step_factor)
    elif config.schedule == "cosine":
        falling = lr_scheduler.CosineAnnealingLR(optimizer, steps)
    else:
        falling = lr_scheduler.PolynomialLR(optimizer, steps, power=0.9)
    return {"scheduler": falling, "interval": "step"}


def _one_cycle(config: StageConfig, optimizer: torch.optim.Optimizer, steps: int) -> lr_scheduler.OneCycleLR:
    rates = [group["lr"] for group in optimizer.param_groups]
    # With a warm-up the highest rate is that of a step, never of the last; without one it falls from the first step on.
    # PyTorch divides by the number of steps before the highest.
    highest = min(round(config.warmup * steps), steps - 2)
    share = (highest + 1) / steps if highest > 0 else 0.0
    return lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=share, cycle_momentum=False)


def moving_average(decay: float) -> Callable[[Any, Any, Tensor], None]:
    """Updates an exponential average of weights, which forgets the first ones faster: what a stage starts from would
    otherwise weigh most for 1 / (1 - decay) steps.

    By linear interpolation, which leaves constant buffers (mean colour, class weights) as they are;
    Lightning's EMAWeightAveraging multiplies and adds, and lets them drift by rounding.
    """

    def update(average: Any, current: Any, steps: Tensor) -> None:
        warming_up = (1 + float(steps)) / (10 + float(steps))
        get_ema_multi_avg_fn(min(decay, warming_up))(average, current, steps)  # type: ignore[no-untyped-call]

    return update


def validation_rhythm(config: StageConfig) -> int:
    """Epochs between validations: the largest number up to `validate_every` that divides the epochs, so that the last
    epoch is validated."""
    limit = min(config.validate_every, config.epochs)
    return next(n for n in range(limit, 0, -1) if config.epochs % n == 0)
