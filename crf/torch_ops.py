"""The native library as torch operators: `torch.ops.segtool.bilateral_lattice` and `bilateral_filter`.

On the CPU and, where the library has CUDA kernels, on CUDA tensors. Images take no gradient: the
lattice is a piecewise constant structure. Values do: backward is the filter with `reverse` flipped.
"""

import torch
from torch import Tensor

from segtool.crf import native, torch_cuda
from segtool.crf.geometry import CORNERS
from segtool.crf.torch_layout import memory_layout
from segtool.errors import SegtoolError


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
    image = _levels(image)
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


def _levels(image: Tensor) -> Tensor:
    if image.ndim != 4 or image.shape[1] != 3:
        raise SegtoolError("image must be [N,3,H,W]", where=str(list(image.shape)))
    return image.detach().to(torch.float32).contiguous()


@bilateral_lattice.register_kernel("cuda")
def _lattice_cuda(image: Tensor, spatial_sigma: float, color_sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    image = _levels(image)
    with torch.cuda.device(image.device):
        stream = torch.cuda.current_stream().cuda_stream
        # Waits for the device: a tight M saves time and memory in every later filter.
        return torch_cuda.build_lattice(image, spatial_sigma, color_sigma, stream)[:3]


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
    _check_filter(values, vertex, weight, neighbor)
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


def _check_filter(values: Tensor, vertex: Tensor, weight: Tensor, neighbor: Tensor) -> None:
    dtypes = [t.dtype for t in (values, weight, vertex, neighbor)]
    if dtypes != [torch.float32, torch.float32, torch.int32, torch.int32]:
        raise SegtoolError("values and weight must be float32, vertex and neighbor int32", where=str(dtypes))
    shapes = [tuple(t.shape) for t in (values, vertex, weight, neighbor)]
    pixels = values.numel() // max(values.shape[1], 1) if values.ndim == 4 else -1
    if shapes[1:] != [(pixels, CORNERS), (pixels, CORNERS), (CORNERS, 2, *shapes[3][2:])] or neighbor.ndim != 3:
        raise SegtoolError("values [N,C,H,W] and lattice are of different images", where=str(shapes))


@bilateral_filter.register_kernel("cuda")
def _filter_cuda(values: Tensor, vertex: Tensor, weight: Tensor, neighbor: Tensor, reverse: bool = False) -> Tensor:
    _check_filter(values, vertex, weight, neighbor)
    values = values.contiguous(memory_format=memory_layout(values))
    lattice = (vertex.contiguous(), weight.contiguous(), neighbor.contiguous())
    deterministic = torch.are_deterministic_algorithms_enabled()
    with torch.cuda.device(values.device):
        stream = torch.cuda.current_stream().cuda_stream
        return torch_cuda.filter_values(values, lattice, stream, reverse=reverse, deterministic=deterministic)


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


# Inside autocast the operators get and give float32: half has too few digits for the sums over a kernel.
for _operator in (bilateral_lattice, bilateral_filter):
    for _device in ("cpu", "cuda"):
        _operator.register_autocast(_device, torch.float32)
