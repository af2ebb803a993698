"""The exact dense CRF: every pixel with every pixel, O((HW)^2). For tests and small images only.

Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials"
(2011), with symmetric normalisation. Differentiable; float64 in, float64 out.
"""

import torch
from torch import Tensor


def pixel_features(image: Tensor, spatial_sigma: float, color_sigma: float | None = None) -> Tensor:
    """Features [H*W, 2 or 5] of one image [3,H,W]: (x,y)/spatial_sigma, and (r,g,b)/color_sigma."""
    _, height, width = image.shape
    y, x = torch.meshgrid(
        torch.arange(height, dtype=image.dtype, device=image.device),
        torch.arange(width, dtype=image.dtype, device=image.device),
        indexing="ij",
    )
    features = torch.stack([x, y]).flatten(1) / spatial_sigma
    if color_sigma is not None:
        features = torch.cat([features, image.flatten(1) / color_sigma])
    return features.T


def gaussian_kernel(features: Tensor) -> Tensor:
    """Kn = D^-1/2 K D^-1/2 [HW,HW], K_ij = exp(-|f_i - f_j|^2 / 2), D = diag(K 1), self pairs included."""
    kernel = torch.exp(-0.5 * torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist") ** 2)
    scale = kernel.sum(1).rsqrt()
    return scale[:, None] * kernel * scale[None, :]


def exact_filter(values: Tensor, image: Tensor, spatial_sigma: float, color_sigma: float | None = None) -> Tensor:
    """Filters values [C,H,W] with the exact kernel of one image [3,H,W] (levels 0..255)."""
    kernel = gaussian_kernel(pixel_features(image, spatial_sigma, color_sigma))
    return (kernel @ values.flatten(1).T).T.reshape(values.shape)


def mean_field(logits: Tensor, kernels: list[Tensor], compatibilities: list[Tensor], iterations: int) -> Tensor:
    """Q after `iterations` of Q <- softmax(z + sum_k (Kn_k Q) M_k), from Q0 = softmax(z).

    Args:
        logits: z, [HW,C].
        kernels: normalised kernels Kn_k, each [HW,HW].
        compatibilities: M_k, each [C,C].
    """
    q = logits.softmax(1)
    for _ in range(iterations):
        message = sum((k @ q @ m for k, m in zip(kernels, compatibilities, strict=True)), torch.zeros_like(q))
        q = (logits + message).softmax(1)
    return q
