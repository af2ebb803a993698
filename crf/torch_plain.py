"""The other steps of a mean-field iteration in plain torch: any device, exported as standard operators."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


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
    """As the operator of that name in `torch_mean_field`: both tables in one 1x1 convolution."""
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


def _blur_columns(values: Tensor, taps: Tensor) -> Tensor:
    kernel = taps.expand(values.shape[1], 1, 1, -1)
    return F.conv2d(values, kernel, padding=(0, taps.shape[0] // 2), groups=values.shape[1])


def _blur_rows(values: Tensor, taps: Tensor) -> Tensor:
    kernel = taps[:, None].expand(values.shape[1], 1, -1, 1)
    return F.conv2d(values, kernel, padding=(taps.shape[0] // 2, 0), groups=values.shape[1])
