"""The four operators of `operators` in plain torch, under the same names: readable, on any device, without the library.

The lattice finds the same vertices as the native code, bit for bit, and numbers them in the order of their keys.
Everything is written so that `torch.onnx.export` turns it into standard ONNX operators.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from segtool.crf.geometry import CORNERS, DIMENSIONS, KeyPacking, Scales, feature_scale, key_packing
from segtool.errors import SegtoolError


def bilateral_lattice(
    image: Tensor, spatial_sigma: float, color_sigma: float, side: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Builds the lattice of images [N,3,H,W], float32, levels 0..255.

    Args:
        image: the images.
        spatial_sigma: pixels.
        color_sigma: levels.
        side: upper bound of H and W to pack keys for; the image's own size when not given.

    Returns:
        vertex int32 [N*H*W,6], weight float32 [N*H*W,6], neighbor int32 [6,2,M]. M means "none".

    Raises:
        SegtoolError: the sigmas are so small that the batch's vertices do not fit into 63 bits.
    """
    if side is None:
        side = max(image.shape[2], image.shape[3])
    packing = key_packing(spatial_sigma, color_sigma, side)
    if packing.max_batch < 1:
        raise SegtoolError(
            "sigmas too small for the plain torch lattice",
            where=f"spatial_sigma={spatial_sigma}, color_sigma={color_sigma}, {side} pixels",
            mend="use the native library",
        )
    elevated = _elevate(image, feature_scale(spatial_sigma, color_sigma))
    origin, rank, barycentric = _enclose(elevated)
    keys = _corner_keys(origin, rank, packing)
    image_index = torch.arange(image.shape[0], device=image.device) * packing.image_stride
    keys = (keys.reshape(image.shape[0], -1, CORNERS) + image_index[:, None, None]).reshape(-1)
    unique, inverse = torch.unique(keys, sorted=True, return_inverse=True)
    vertex = inverse.reshape(-1, CORNERS).to(torch.int32)
    neighbor = _neighbors(unique, packing)
    degree = _filter_pixels(torch.ones_like(barycentric[:, :1]), vertex, barycentric, neighbor, False)
    return vertex, barycentric * (1.0 / torch.sqrt(degree)), neighbor


def bilateral_filter(values: Tensor, vertex: Tensor, weight: Tensor, neighbor: Tensor, reverse: bool = False) -> Tensor:
    """Filters values [N,C,H,W]; `reverse` blurs the axes in the opposite order: the exact adjoint."""
    n, channels, height, width = values.shape
    pixels = values.permute(0, 2, 3, 1).reshape(-1, channels)
    filtered = _filter_pixels(pixels, vertex, weight, neighbor, reverse)
    return filtered.reshape(n, height, width, channels).permute(0, 3, 1, 2)


def spatial_filter(values: Tensor, sigma: float) -> Tensor:
    """Filters values [N,C,H,W] with g(x) g(y), g(x) = exp(-x^2 / 2 sigma^2), normalised symmetrically.

    Args:
        sigma: standard deviation in pixels.

    Returns:
        D^-1/2 K D^-1/2 values, D = diag(K 1): [N,C,H,W]. Outside the image there is nothing.
    """
    taps = gaussian_taps(sigma).to(values)
    scale = torch.rsqrt(degree(values, sigma))
    return scale * _blur_rows(_blur_columns(scale * values, taps), taps)


def mean_field_update(
    unary: Tensor, spatial: Tensor, bilateral: Tensor, spatial_table: Tensor, bilateral_table: Tensor, normalize: bool
) -> Tensor:
    """As the operator of that name: both tables in one 1x1 convolution."""
    tables = torch.cat([spatial_table, bilateral_table]).T[:, :, None, None]
    z = unary + F.conv2d(torch.cat([spatial, bilateral], 1), tables)
    return softmax(z) if normalize else z


def softmax(z: Tensor) -> Tensor:
    """Over the classes of [N,C,H,W]. Spelled out, ONNX Runtime needs a twelfth of the time of its own Softmax."""
    e = (z - z.amax(1, keepdim=True)).exp()
    return e / e.sum(1, keepdim=True)


def log_softmax(z: Tensor) -> Tensor:
    """Over the classes of [N,C,H,W]: z less its logsumexp. Spelled out as softmax is."""
    below = z - z.amax(1, keepdim=True).detach()  # what is taken off twice needs no gradient
    return below - below.exp().sum(1, keepdim=True).log()


def degree(values: Tensor, sigma: float) -> Tensor:
    """D of images as large as values [N,C,H,W]: [1,1,H,W], one factor for the row times one for the column."""
    taps = gaussian_taps(sigma).to(values)
    rows = _blur_rows(values.new_ones(1, 1, values.shape[2], 1), taps)
    columns = _blur_columns(values.new_ones(1, 1, 1, values.shape[3]), taps)
    return rows * columns


def gaussian_taps(sigma: float) -> Tensor:
    """exp(-x^2 / 2 sigma^2) for |x| <= 5 sigma: what is cut off is below float32 precision."""
    radius = math.ceil(5 * sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    return torch.exp(-0.5 * (x / sigma) ** 2)


def _elevate(image: Tensor, scale: Scales) -> Tensor:
    """Pixel features on the hyperplane of the lattice, [N*H*W,6]. The order of operations is fixed."""
    n, _, height, width = image.shape
    x = torch.arange(width, device=image.device).to(image.dtype).reshape(1, 1, width).expand(n, height, width)
    y = torch.arange(height, device=image.device).to(image.dtype).reshape(1, height, 1).expand(n, height, width)
    features = [x, y, image[:, 0], image[:, 1], image[:, 2]]
    elevated = []
    total = torch.zeros_like(image[:, 0])
    for j in range(DIMENSIONS, 0, -1):
        scaled = features[j - 1] * scale[j - 1]
        elevated.append(total - scaled * float(j))
        total = total + scaled
    elevated.append(total)
    return torch.stack(elevated[::-1], dim=-1).reshape(-1, CORNERS)


def _enclose(elevated: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The enclosing simplex: origin / 6 (int64), rank (int64) and barycentric weights, each [P,6]."""
    sixth = 1.0 / CORNERS
    v = elevated * sixth
    up, down = torch.ceil(v) * float(CORNERS), torch.floor(v) * float(CORNERS)
    nearest = torch.where(up - elevated < elevated - down, up, down)
    offset = elevated - nearest
    origin = torch.round(nearest * sixth).to(torch.int64)
    ranks = []
    for i in range(CORNERS):
        before = (offset[:, :i] >= offset[:, i : i + 1]).to(torch.int64).sum(1)
        after = (offset[:, i + 1 :] > offset[:, i : i + 1]).to(torch.int64).sum(1)
        ranks.append(before + after)
    rank = torch.stack(ranks, dim=1) + origin.sum(1, keepdim=True)
    shift = (rank < 0).to(torch.int64) - (rank >= CORNERS).to(torch.int64)
    rank, origin = rank + shift * CORNERS, origin + shift
    delta = (elevated - origin.to(elevated.dtype) * float(CORNERS)) * sixth
    by_rank = torch.zeros_like(delta).scatter(1, rank, delta)
    first = 1.0 + (by_rank[:, 5:6] - by_rank[:, 0:1])
    rest = by_rank[:, :DIMENSIONS] - by_rank[:, 1:]  # d-k minus d+1-k for k = 5..1
    return origin, rank, torch.cat([first, rest.flip(1)], dim=1)


def _corner_keys(origin: Tensor, rank: Tensor, packing: KeyPacking) -> Tensor:
    """Packed keys [P,6] of the vertices with remainder 0..5."""
    low, stride = origin.new_tensor(packing.low), origin.new_tensor(packing.stride)
    base = ((origin[:, :DIMENSIONS] - low) * stride).sum(1)
    rank = rank[:, :DIMENSIONS]
    wrapped = [((rank > DIMENSIONS - k).to(torch.int64) * stride).sum(1) for k in range(CORNERS)]
    return torch.stack([base + k - wrapped[k] for k in range(CORNERS)], dim=1)


def _neighbors(unique: Tensor, packing: KeyPacking) -> Tensor:
    """Both neighbours along each axis, [6,2,M]. A step is an addition to the packed key."""
    count = unique.shape[0]
    remainder = unique % CORNERS
    carry = sum(packing.stride) - CORNERS
    up = unique + 1 + (remainder == DIMENSIONS).to(torch.int64) * carry
    down = unique - 1 - (remainder == 0).to(torch.int64) * carry
    steps = [*packing.stride, 0]
    wanted = torch.cat([key for s in steps for key in (up - s, down + s)])
    # Numbering vertices and wanted keys together finds both in one pass, with standard operators alone.
    together, number = torch.unique(torch.cat([unique, wanted]), sorted=True, return_inverse=True)
    none = torch.zeros_like(together) + count
    vertex_of = none.scatter(0, number[:count], torch.arange(count, device=unique.device))
    return vertex_of.index_select(0, number[count:]).reshape(CORNERS, 2, count).to(torch.int32)


def _filter_pixels(pixels: Tensor, vertex: Tensor, weight: Tensor, neighbor: Tensor, reverse: bool) -> Tensor:
    """Splat, blur, slice of pixel-major values [P,C]. The last lattice row is "none" and stays zero."""
    count = neighbor.shape[2]
    none = torch.zeros_like(pixels[:1])
    corners, weights = torch.split(vertex.to(torch.int64), 1, dim=1), torch.split(weight, 1, dim=1)
    neighbor = neighbor.to(torch.int64)
    lattice = torch.zeros((count + 1, pixels.shape[1]), dtype=pixels.dtype, device=pixels.device)
    for corner, w in zip(corners, weights, strict=True):
        # Exported as ScatterElements. index_add would become ScatterND, whose additions to the same row
        # ONNX Runtime's CPU provider runs in parallel and loses.
        lattice = lattice.scatter_add(0, corner.expand_as(pixels), pixels * w)
    axes = range(CORNERS - 1, -1, -1) if reverse else range(CORNERS)
    for axis in axes:
        before, after = (lattice.index_select(0, neighbor[axis, side]) for side in (0, 1))
        lattice = torch.cat([lattice[:count] + 0.5 * (before + after), none])
    parts = [lattice.index_select(0, corner[:, 0]) * w for corner, w in zip(corners, weights, strict=True)]
    return sum(parts, torch.zeros_like(pixels))


def _blur_columns(values: Tensor, taps: Tensor) -> Tensor:
    kernel = taps.expand(values.shape[1], 1, 1, -1)
    return F.conv2d(values, kernel, padding=(0, taps.shape[0] // 2), groups=values.shape[1])


def _blur_rows(values: Tensor, taps: Tensor) -> Tensor:
    kernel = taps[:, None].expand(values.shape[1], 1, -1, 1)
    return F.conv2d(values, kernel, padding=(taps.shape[0] // 2, 0), groups=values.shape[1])
