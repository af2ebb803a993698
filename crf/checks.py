"""What the torch operators have in common: checks, and which memory format a result has."""

import torch
from torch import Tensor

from segtool.crf.geometry import CORNERS
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


def levels(image: Tensor) -> Tensor:
    """An image as float32, contiguous, without a gradient.

    Raises:
        SegtoolError: not [N,3,H,W].
    """
    if image.ndim != 4 or image.shape[1] != 3:
        raise SegtoolError("image must be [N,3,H,W]", where=str(list(image.shape)))
    return image.detach().to(torch.float32).contiguous()


def check_filter(values: Tensor, vertex: Tensor, weight: Tensor, neighbor: Tensor) -> None:
    """Refuses values and a lattice that do not belong together.

    Raises:
        SegtoolError: other dtypes than float32 and int32, or shapes of different images.
    """
    dtypes = [t.dtype for t in (values, weight, vertex, neighbor)]
    if dtypes != [torch.float32, torch.float32, torch.int32, torch.int32]:
        raise SegtoolError("values and weight must be float32, vertex and neighbor int32", where=str(dtypes))
    shapes = [tuple(t.shape) for t in (values, vertex, weight, neighbor)]
    pixels = values.numel() // max(values.shape[1], 1) if values.ndim == 4 else -1
    if shapes[1:] != [(pixels, CORNERS), (pixels, CORNERS), (CORNERS, 2, *shapes[3][2:])] or neighbor.ndim != 3:
        raise SegtoolError("values [N,C,H,W] and lattice are of different images", where=str(shapes))


def in_one_layout(unary: Tensor, *others: Tensor) -> tuple[list[Tensor], torch.memory_format]:
    """Unary, two messages and two tables, all in the layout of the first.

    Raises:
        SegtoolError: other dtypes than float32, or shapes that do not fit.
    """
    _check_update(unary, *others)
    layout = memory_layout(unary)
    values = [t.contiguous(memory_format=layout) for t in (unary, *others[:2])]
    return [*values, *(t.contiguous() for t in others[2:])], layout


def _check_update(unary: Tensor, spatial: Tensor, bilateral: Tensor, *tables: Tensor) -> None:
    check_values(unary, spatial, bilateral)
    classes = unary.shape[1]
    if any(t.shape != (classes, classes) or t.dtype != torch.float32 for t in tables):
        found = ", ".join(f"{t.dtype} {list(t.shape)}" for t in tables)
        raise SegtoolError(f"compatibilities must be float32 [{classes},{classes}]", where=found)
