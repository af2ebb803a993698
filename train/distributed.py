"""Training in several processes, started by `torchrun`. In one process everything here does nothing."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from segtool.train.device import device

T = TypeVar("T")
# The first process works alone for hours (scoring, checking data) while the others wait.
_PATIENCE = timedelta(days=2)
_control: Any = None  # a group for objects, on the processor whatever the gradients travel over


def start() -> None:
    """Joins the group that torchrun set up, if it did."""
    global _control
    if world() == 1 or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    _control = dist.new_group(backend="gloo", timeout=_PATIENCE)


def world() -> int:
    """How many processes train."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_world() -> int:
    """How many of them run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Whether this process writes the run folder and speaks."""
    return rank() == 0


def on_first(work: Callable[[], T]) -> T:
    """The result of `work` in the first process, in all; also what it raises."""
    if world() == 1:
        return work()
    outcome: list[Any] = [None, None]
    if is_first():
        try:
            outcome[0] = work()
        except Exception as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome, src=0, group=_control)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def average(value: Tensor) -> Tensor:
    """The mean over all processes of a tensor that takes no gradient."""
    if world() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total, group=_control if total.device.type == "cpu" else None)
    return total / world()


def gathered(value: T) -> list[T]:
    """The values of all processes, in their order."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value, group=_control)
    return values
