"""What the torch operators have in common: checks, and which memory format a result has."""

import torch
from torch import Tensor

from segtool.errors import SegtoolError


def memory_layout(values: Tensor) -> torch.memory_format:
    """Channel-last values give a channel-last result, any other a contiguous one."""
    if not values.is_contiguous() and values.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def check_values(*tensors: Tensor) -> None:
    """Refuses anything but float32 [N,C,H,W] of one shape.

    Raises:
        SegtoolError: another dtype, rank or shape.
    """
    first = tensors[0].shape
    if first.numel() == 0 or any(t.ndim != 4 or t.dtype != torch.float32 or t.shape != first for t in tensors):
        found = ", ".join(f"{t.dtype} {list(t.shape)}" for t in tensors)
        raise SegtoolError("values must be float32 [N,C,H,W], not empty", where=found)
