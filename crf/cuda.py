"""The CUDA entries of the native library on tensors: memory, workspace and stream."""

import torch
from torch import Tensor

from segtool.crf.geometry import CORNERS
from segtool.crf.library import BAD_LEVEL, cuda_call
from segtool.errors import SegtoolError


def build_lattice(
    image: Tensor, spatial_sigma: float, color_sigma: float, stream: int, capacity: int | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Builds the lattice of images float32 [N,3,H,W] on a stream.

    Args:
        capacity: M, for as many vertices at most; nothing waits, so the caller is to look at the status. When not
            given, the call waits for the device to learn how many there are and checks the status itself.

    Returns:
        vertex int32 [N*H*W,6], weight float32 [N*H*W,6], neighbor int32 [6,2,M], and status int32 [2]: the number of
        vertices, and the bits OVERFLOW and BAD_LEVEL.

    Raises:
        SegtoolError: bad sizes or sigmas; without `capacity` also a level that is not finite or outside 0..255.
    """
    n, _, height, width = image.shape
    pixels, device = n * height * width, image.device
    most = capacity or pixels * CORNERS
    vertex = torch.empty((pixels, CORNERS), dtype=torch.int32, device=device)
    weight = torch.empty((pixels, CORNERS), dtype=torch.float32, device=device)
    status = torch.empty(2, dtype=torch.int32, device=device)
    workspace = _workspace(cuda_call("segtool_cuda_lattice_workspace", n, height, width, most), device)
    arguments = (image.data_ptr(), n, height, width, spatial_sigma, color_sigma, most)
    outputs = (vertex.data_ptr(), weight.data_ptr())
    end = (status.data_ptr(), workspace.data_ptr(), stream)
    cuda_call("segtool_cuda_lattice_insert", *arguments, *outputs, *end)
    count = capacity or _vertex_count(status)
    neighbor = torch.empty((CORNERS, 2, count), dtype=torch.int32, device=device)
    cuda_call("segtool_cuda_lattice_link", *arguments, count, *outputs, neighbor.data_ptr(), *end)
    return vertex, weight, neighbor, status


def _vertex_count(status: Tensor) -> int:
    count, problems = status.tolist()
    if problems & BAD_LEVEL:
        raise SegtoolError("image: levels must be finite and within 0..255")
    return int(count)


def filter_values(
    values: Tensor,
    lattice: tuple[Tensor, Tensor, Tensor],
    stream: int,
    *,
    reverse: bool,
    deterministic: bool,
    status: Tensor | None = None,
) -> Tensor:
    """Filters float32 [N,C,H,W], contiguous or channel-last, on a stream; the result has the same layout.

    Args:
        status: of a lattice that was built for a capacity; what of that is not used is left alone then.
    """
    n, channels, height, width = values.shape
    capacity = lattice[2].shape[2]
    out = torch.empty_like(values)
    size = cuda_call("segtool_cuda_filter_workspace", channels, capacity, int(deterministic))
    workspace = _workspace(size, values.device)
    flags = (int(reverse), int(not values.is_contiguous()), int(deterministic))
    addresses = [*(t.data_ptr() for t in (values, *lattice)), None if status is None else status.data_ptr()]
    sizes = (n, channels, height * width, capacity)
    cuda_call("segtool_cuda_filter", *addresses, *sizes, *flags, out.data_ptr(), workspace.data_ptr(), stream)
    return out


def spatial_filter(values: Tensor, sigma: float, stream: int) -> Tensor:
    """The spatial kernel on float32 [N,C,H,W], contiguous or channel-last; the result has the same layout."""
    n, channels, height, width = values.shape
    shape = (n * channels, height, width, 1) if values.is_contiguous() else (n, height, width, channels)
    out = torch.empty_like(values)
    workspace = _workspace(cuda_call("segtool_cuda_spatial_workspace", *shape, sigma), values.device)
    addresses = (out.data_ptr(), workspace.data_ptr(), stream)
    cuda_call("segtool_cuda_spatial_filter", values.data_ptr(), *shape, sigma, *addresses)
    return out


def mean_field_update(inputs: list[Tensor], normalize: bool, stream: int) -> Tensor:
    """The local update of unary and messages, float32 [N,C,H,W] of one layout, contiguous or channel-last, and two
    tables [C,C]; the result has the same layout."""
    unary = inputs[0]
    n, channels, height, width = unary.shape
    out = torch.empty_like(unary)
    flags = (int(normalize), int(not unary.is_contiguous()))
    addresses = [t.data_ptr() for t in inputs]
    cuda_call("segtool_cuda_mean_field_update", *addresses, n, channels, height * width, *flags, out.data_ptr(), stream)
    return out


def mean_field(
    logits: Tensor,
    image: Tensor,
    widths: tuple[float, float, float],
    tables: tuple[Tensor, Tensor],
    iterations: int,
    stream: int,
    capacity: int,
) -> tuple[Tensor, Tensor]:
    """All of the inference as one call that waits for nothing, as `native.mean_field` on the processor.

    Args:
        logits: float32 [N,C,H,W], contiguous or channel-last.
        image: float32 [N,3,H,W], levels 0..255.
        widths: gamma, alpha (pixels) and beta (levels).
        tables: spatial and bilateral compatibility, [C,C].
        capacity: the most vertices that the lattice may have.

    Returns:
        Q in the layout of the logits, and the lattice's status as of `build_lattice`; where that tells of a problem,
        Q is NaN.
    """
    n, classes, height, width = shape = logits.shape
    out = torch.empty_like(logits)
    status = torch.empty(2, dtype=torch.int32, device=logits.device)
    last = int(not logits.is_contiguous())
    size = cuda_call("segtool_cuda_mean_field_workspace", *shape, widths[0], capacity, last)
    workspace = _workspace(size, logits.device)
    given = (logits.data_ptr(), image.data_ptr(), n, classes, height, width, *widths, *(t.data_ptr() for t in tables))
    end = (out.data_ptr(), status.data_ptr(), workspace.data_ptr(), stream)
    cuda_call("segtool_cuda_mean_field", *given, iterations, capacity, last, *end)
    return out, status


def _workspace(size: int, device: torch.device) -> Tensor:
    return torch.empty(size, dtype=torch.uint8, device=device)
