"""The other steps of a mean-field iteration as torch operators: `spatial_filter` and `mean_field_update`.

Native, as in `torch_ops`; `torch_plain` has the same in plain torch.
"""

import torch
from torch import Tensor

from segtool.crf import native, torch_cuda
from segtool.crf.torch_layout import check_values, memory_layout
from segtool.errors import SegtoolError


@torch.library.custom_op("segtool::spatial_filter", mutates_args=(), device_types="cpu")
def spatial_filter(values: Tensor, sigma: float) -> Tensor:
    """Filters values [N,C,H,W] (float32) with the spatial kernel, normalised symmetrically: its own adjoint.

    Channel-last values give a channel-last result, any other a contiguous one.
    """
    check_values(values)
    layout = memory_layout(values)
    values = values.contiguous(memory_format=layout)
    n, channels, height, width = values.shape
    last = layout == torch.channels_last
    shape = (n, height, width, channels) if last else (n * channels, height, width, 1)
    out = torch.empty_like(values, memory_format=layout)
    native.spatial_filter_pointers(values.data_ptr(), shape, sigma, out.data_ptr(), torch.get_num_threads())
    return out


@spatial_filter.register_kernel("cuda")
def _spatial_cuda(values: Tensor, sigma: float) -> Tensor:
    check_values(values)
    values = values.contiguous(memory_format=memory_layout(values))
    with torch.cuda.device(values.device):
        return torch_cuda.spatial_filter(values, sigma, torch.cuda.current_stream().cuda_stream)


@spatial_filter.register_fake
def _(values: Tensor, sigma: float) -> Tensor:
    return torch.empty_like(values, memory_format=memory_layout(values))


def _save_sigma(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
    ctx.sigma = inputs[1]  # type: ignore[attr-defined]


def _spatial_backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple:
    return spatial_filter(gradient, ctx.sigma), None  # type: ignore[attr-defined]


spatial_filter.register_autograd(_spatial_backward, setup_context=_save_sigma)


@torch.library.custom_op("segtool::mean_field_update", mutates_args=(), device_types="cpu")
def mean_field_update(
    unary: Tensor, spatial: Tensor, bilateral: Tensor, spatial_table: Tensor, bilateral_table: Tensor, normalize: bool
) -> Tensor:
    """What an iteration does at each pixel once the messages are there: compatibility transform, local update, softmax.

    Args:
        unary, spatial, bilateral: logits and the two kernels' messages, float32 [N,C,H,W].
        spatial_table, bilateral_table: compatibilities, float32 [C,C].
        normalize: whether the result is a softmax over the classes.

    Returns:
        unary + spatial spatial_table + bilateral bilateral_table, a row times a matrix for each pixel, or its
        softmax; in the layout of `unary`.
    """
    inputs, layout = _update_inputs(unary, spatial, bilateral, spatial_table, bilateral_table)
    n, channels, height, width = unary.shape
    out = torch.empty_like(unary, memory_format=layout)
    native.mean_field_update_pointers(
        [t.data_ptr() for t in inputs],
        (n, channels, height * width),
        out.data_ptr(),
        normalize=normalize,
        channels_last=layout == torch.channels_last,
        threads=torch.get_num_threads(),
    )
    return out


def _update_inputs(unary: Tensor, *others: Tensor) -> tuple[list[Tensor], torch.memory_format]:
    """All of them in the layout of `unary`, checked."""
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


@mean_field_update.register_kernel("cuda")
def _update_cuda(
    unary: Tensor, spatial: Tensor, bilateral: Tensor, spatial_table: Tensor, bilateral_table: Tensor, normalize: bool
) -> Tensor:
    inputs, _ = _update_inputs(unary, spatial, bilateral, spatial_table, bilateral_table)
    with torch.cuda.device(unary.device):
        return torch_cuda.mean_field_update(inputs, normalize, torch.cuda.current_stream().cuda_stream)


@mean_field_update.register_fake
def _(
    unary: Tensor, spatial: Tensor, bilateral: Tensor, spatial_table: Tensor, bilateral_table: Tensor, normalize: bool
) -> Tensor:
    return torch.empty_like(unary, memory_format=memory_layout(unary))


def _save_update(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
    _, spatial, bilateral, spatial_table, bilateral_table, normalize = inputs
    ctx.normalize = normalize  # type: ignore[attr-defined]
    ctx.save_for_backward(spatial, bilateral, spatial_table, bilateral_table, *([output] if normalize else []))


def _update_backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple:
    spatial, bilateral, spatial_table, bilateral_table, *q = ctx.saved_tensors  # type: ignore[attr-defined]
    if q:
        weighted = gradient * q[0]
        gradient = weighted - q[0] * weighted.sum(1, keepdim=True)
    rows = _rows(gradient)
    to_spatial, to_bilateral = (_pixels(rows @ table.T, gradient) for table in (spatial_table, bilateral_table))
    to_tables = (_rows(message).T @ rows for message in (spatial, bilateral))
    return gradient, to_spatial, to_bilateral, *to_tables, None


def _rows(values: Tensor) -> Tensor:
    return values.permute(0, 2, 3, 1).flatten(0, 2)


def _pixels(rows: Tensor, like: Tensor) -> Tensor:
    n, channels, height, width = like.shape
    return rows.reshape(n, height, width, channels).permute(0, 3, 1, 2)


mean_field_update.register_autograd(_update_backward, setup_context=_save_update)


# As in torch_ops: float32 inside autocast.
for _operator in (spatial_filter, mean_field_update):
    for _device in ("cpu", "cuda"):
        _operator.register_autocast(_device, torch.float32)
