"""Gaussian filters whose widths take gradients too.

With K_ij = exp(-1/2 sum_g |f_i - f_j|^2 / sigma_g^2) over groups g of features (position, colour),

    dK_ij / dsigma_g = K_ij |f_i - f_j|^2 / sigma_g^3,    |f_i - f_j|^2 = |f_i|^2 + |f_j|^2 - 2 f_i . f_j,

so every term of the derivative is again a filter call, on values multiplied by features. The
normalisation Kn = D^-1/2 K D^-1/2 adds -1/2 (E Kn + Kn E) with E = D^-1 dD/dsigma_g, D = diag(K 1).
The lattice has the kernel only approximately; the derivative is that of the kernel it approximates. A lattice built
for NARROWING of the widths is nearest to the kernel, but |f_i - f_j|^2 weighs the tails, which it cuts short: the
derivative comes from one built for the widths as they are.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segtool.crf import operators, plain
from segtool.crf.geometry import NARROWING

Lattice = tuple[Tensor, Tensor, Tensor]
Filter = Callable[[Tensor], Tensor]


def learnable_bilateral_filter(values: Tensor, lattice: Lattice, image: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """`operators.bilateral_filter` with gradients for alpha and beta.

    Args:
        values: float32 [N,C,H,W].
        lattice: of `image`, alpha and beta.
        image: float32 [N,3,H,W], levels 0..255.
        alpha: scalar, pixels.
        beta: scalar, levels.
    """
    return _BilateralFilter.apply(values, *lattice, image, alpha, beta)  # type: ignore[no-any-return]


def learnable_spatial_filter(values: Tensor, gamma: Tensor) -> Tensor:
    """`operators.spatial_filter` of values [N,C,H,W] with a gradient for gamma (scalar, pixels)."""
    return _SpatialFilter.apply(values, gamma)  # type: ignore[no-any-return]


class _BilateralFilter(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        values: Tensor,
        vertex: Tensor,
        weight: Tensor,
        neighbor: Tensor,
        image: Tensor,
        alpha: Tensor,
        beta: Tensor,
    ) -> Tensor:
        out = operators.bilateral_filter(values, vertex, weight, neighbor)
        ctx.save_for_backward(values, vertex, weight, neighbor, image, alpha, beta)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple:
        values, vertex, weight, neighbor, image, alpha, beta = ctx.saved_tensors  # type: ignore[attr-defined]
        adjoint = operators.bilateral_filter(gradient, vertex, weight, neighbor, True)
        wide = operators.bilateral_lattice(image, float(alpha) / NARROWING, float(beta) / NARROWING)

        def apply(v: Tensor) -> Tensor:
            return operators.bilateral_filter(v, *wide)

        # A pixel's barycentric weights sum to one, so its weights sum to D^-1/2.
        root_degree = wide[1].sum(1).reciprocal().reshape(values[:, :1].shape)
        pulled_back = operators.bilateral_filter(gradient, *wide, True)
        terms = _Terms(apply, values, apply(values), gradient, pulled_back, root_degree)
        d_alpha = terms.width_gradient(_positions(values), alpha)
        d_beta = terms.width_gradient((image - 127.5).unbind(1), beta)
        return adjoint, None, None, None, None, d_alpha, d_beta


class _SpatialFilter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor, gamma: Tensor) -> Tensor:
        out = operators.spatial_filter(values, float(gamma))
        ctx.save_for_backward(values, out, gamma)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple:
        values, out, gamma = ctx.saved_tensors  # type: ignore[attr-defined]

        def apply(v: Tensor) -> Tensor:
            return operators.spatial_filter(v, float(gamma))

        root_degree = plain.degree(values, float(gamma)).sqrt()
        adjoint = apply(gradient)  # the kernel is symmetric
        terms = _Terms(apply, values, out, gradient, adjoint, root_degree)
        return adjoint, terms.width_gradient(_positions(values), gamma)


class _Terms(NamedTuple):
    """What the derivative for every width is made of; Kn v = out, Kn^T gradient = adjoint."""

    kernel: Filter
    values: Tensor
    out: Tensor
    gradient: Tensor
    adjoint: Tensor
    root_degree: Tensor  # D^1/2, [N,1,H,W]

    def width_gradient(self, features: Sequence[Tensor], sigma: Tensor) -> Tensor:
        """The derivative for the width of one group of features, each [N,H,W] or [H,W]."""
        planes = [f.expand_as(self.root_degree[:, 0])[:, None] for f in features]
        square = sum((f * f for f in planes), torch.zeros_like(self.root_degree))
        # <gradient, (Kn o |f_i - f_j|^2) values>, and the part of the normalisation.
        pulled = [_dot(f * self.gradient, self.kernel(f * self.values)) for f in planes]
        moment = self._weigh(square) - 2 * sum(pulled, torch.zeros_like(pulled[0]))
        moment = moment - 0.5 * self._weigh(self._degree_moment(planes, square))
        return (moment / sigma.double() ** 3).to(sigma.dtype)

    def _weigh(self, w: Tensor) -> Tensor:
        """<gradient, (diag(w) Kn + Kn diag(w)) values>."""
        return _dot(w * self.gradient, self.out) + _dot(w * self.adjoint, self.values)

    def _degree_moment(self, planes: list[Tensor], square: Tensor) -> Tensor:
        """sum_j K_ij |f_i - f_j|^2 / sum_j K_ij, [N,1,H,W]."""
        s = self.root_degree
        filtered = self.kernel(torch.cat([s, square * s, *(f * s for f in planes)], 1))
        ones, squares, firsts = filtered[:, :1], filtered[:, 1:2], filtered[:, 2:]
        cross = (torch.cat(planes, 1) * firsts).sum(1, keepdim=True)
        return (square * ones + squares - 2 * cross) / s


def _dot(a: Tensor, b: Tensor) -> Tensor:
    # The terms cancel to a fraction of their size: sum them in double.
    return (a.double() * b.double()).sum()


def _positions(values: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel coordinates about the image's middle, so that their squares stay small."""
    height, width = values.shape[2:]
    y = torch.arange(height, device=values.device, dtype=values.dtype) - height / 2
    x = torch.arange(width, device=values.device, dtype=values.dtype) - width / 2
    return y[:, None].expand(height, width), x[None, :].expand(height, width)
