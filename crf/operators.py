"""The four operators of the dense CRF in torch: bilateral_lattice, bilateral_filter, spatial_filter, mean_field_update.

They are `torch.ops.segtool.*`, with autograd: the native library on the CPU and, where it has CUDA kernels, on CUDA
tensors. `plain` has the same in plain torch, under the same names. Images take no gradient: the lattice is a piecewise
constant structure. Values do: backward is the filter with `reverse` flipped.
"""

import torch
from torch import Tensor

from segtool.crf import cuda, native
from segtool.crf.checks import check_filter, check_values, in_one_layout, levels, memory_layout
from segtool.crf.geometry import CORNERS


# On a GPU it waits for the number of vertices, which no CUDA graph can hold: torch.compile leaves it out of its graphs.
@torch.library.custom_op(
    "segtool::bilateral_lattice", mutates_args=(), device_types="cpu", tags=torch.Tag.cudagraph_unsafe
)
def bilateral_lattice(image: Tensor, spatial_sigma: float, color_sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Builds the lattice of images [N,3,H,W], float32, levels 0..255.

    Returns:
        vertex int32 [N*H*W,6], weight float32 [N*H*W,6], neighbor int32 [6,2,M]. M means "none".

    Raises:
        SegtoolError: not three channels, a level that is not finite or outside 0..255, a sigma that is not positive.
    """
    image = levels(image)
    n, _, height, width = image.shape
    vertex = torch.empty((n * height * width, CORNERS), dtype=torch.int32)
    weight = torch.empty((n * height * width, CORNERS), dtype=torch.float32)
    tables: list[Tensor] = []

    def neighbor(count: int) -> int:
        tables.append(torch.empty((CORNERS, 2, count), dtype=torch.int32))
        return tables[0].data_ptr()

    native.build_lattice(
        image.data_ptr(),
        (n, height, width),
        spatial_sigma,
        color_sigma,
        vertex.data_ptr(),
        weight.data_ptr(),
        neighbor,
        torch.get_num_threads(),
    )
    return vertex, weight, tables[0]


@bilateral_lattice.register_kernel("cuda")
def _lattice_cuda(image: Tensor, spatial_sigma: float, color_sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    image = levels(image)
    with torch.cuda.device(image.device):
        stream = torch.cuda.current_stream().cuda_stream
        # Waits for the device: a tight M saves time and memory in every later filter.
        return cuda.build_lattice(image, spatial_sigma, color_sigma, stream)[:3]


@bilateral_lattice.register_fake
def _(image: Tensor, spatial_sigma: float, color_sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    n, _, height, width = image.shape
    count = torch.library.get_ctx().new_dynamic_size()
    return (
        image.new_empty((n * height * width, CORNERS), dtype=torch.int32),
        image.new_empty((n * height * width, CORNERS), dtype=torch.float32),
        image.new_empty((CORNERS, 2, count), dtype=torch.int32),
    )


@torch.library.custom_op("segtool::bilateral_filter", mutates_args=(), device_types="cpu")
def bilateral_filter(values: Tensor, vertex: Tensor, weight: Tensor, neighbor: Tensor, reverse: bool = False) -> Tensor:
    """Filters values [N,C,H,W] (float32) on a lattice; `reverse` gives the exact adjoint.

    Channel-last values give a channel-last result, any other a contiguous one.

    Raises:
        SegtoolError: other dtypes than float32 and int32, a lattice of other images.
    """
    check_filter(values, vertex, weight, neighbor)
    layout = memory_layout(values)
    values = values.contiguous(memory_format=layout)
    vertex, weight, neighbor = (t.contiguous() for t in (vertex, weight, neighbor))
    n, channels, height, width = values.shape
    out = torch.empty_like(values, memory_format=layout)
    native.filter_pointers(
        values.data_ptr(),
        (vertex.data_ptr(), weight.data_ptr(), neighbor.data_ptr()),
        (n, channels, height * width, neighbor.shape[2]),
        out.data_ptr(),
        reverse=reverse,
        channels_last=layout == torch.channels_last,
        threads=torch.get_num_threads(),
    )
    return out


@bilateral_filter.register_kernel("cuda")
def _filter_cuda(values: Tensor, vertex: Tensor, weight: Tensor, neighbor: Tensor, reverse: bool = False) -> Tensor:
    check_filter(values, vertex, weight, neighbor)
    values = values.contiguous(memory_format=memory_layout(values))
    lattice = (vertex.contiguous(), weight.contiguous(), neighbor.contiguous())
    deterministic = torch.are_deterministic_algorithms_enabled()
    with torch.cuda.device(values.device):
        stream = torch.cuda.current_stream().cuda_stream
        return cuda.filter_values(values, lattice, stream, reverse=reverse, deterministic=deterministic)


@bilateral_filter.register_fake
def _(values: Tensor, vertex: Tensor, weight: Tensor, neighbor: Tensor, reverse: bool = False) -> Tensor:
    return torch.empty_like(values, memory_format=memory_layout(values))


def _save_lattice(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
    _, vertex, weight, neighbor, ctx.reverse = inputs  # type: ignore[attr-defined]
    ctx.save_for_backward(vertex, weight, neighbor)


def _filter_backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple:
    vertex, weight, neighbor = ctx.saved_tensors  # type: ignore[attr-defined]
    reverse = not ctx.reverse  # type: ignore[attr-defined]
    return bilateral_filter(gradient, vertex, weight, neighbor, reverse), None, None, None, None


bilateral_filter.register_autograd(_filter_backward, setup_context=_save_lattice)


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
        return cuda.spatial_filter(values, sigma, torch.cuda.current_stream().cuda_stream)


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
        unary: logits, float32 [N,C,H,W].
        spatial: message of the spatial kernel, of the same shape.
        bilateral: message of the bilateral kernel, of the same shape.
        spatial_table: compatibility of the spatial kernel, float32 [C,C].
        bilateral_table: that of the bilateral kernel.
        normalize: whether the result is a softmax over the classes.

    Returns:
        unary + spatial spatial_table + bilateral bilateral_table, a row times a matrix for each pixel, or its
        softmax; in the layout of `unary`.
    """
    inputs, layout = in_one_layout(unary, spatial, bilateral, spatial_table, bilateral_table)
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


@mean_field_update.register_kernel("cuda")
def _update_cuda(
    unary: Tensor, spatial: Tensor, bilateral: Tensor, spatial_table: Tensor, bilateral_table: Tensor, normalize: bool
) -> Tensor:
    inputs, _ = in_one_layout(unary, spatial, bilateral, spatial_table, bilateral_table)
    with torch.cuda.device(unary.device):
        return cuda.mean_field_update(inputs, normalize, torch.cuda.current_stream().cuda_stream)


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


# Inside autocast the operators get and give float32: half has too few digits for the sums over a kernel.
for _operator in (bilateral_lattice, bilateral_filter, spatial_filter, mean_field_update):
    for _device in ("cpu", "cuda"):
        _operator.register_autocast(_device, torch.float32)
