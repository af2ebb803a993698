"""The dense CRF as a layer: unrolled mean field with learnable compatibilities.

Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials"
(2011), equation 3 and algorithm 1; unrolled and trained as in Zheng et al., "Conditional Random Fields
as Recurrent Neural Networks" (2015).
"""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segtool.bilateral import torch_ops
from segtool.card import CrfCard

Compatibility = Literal["full", "per-class", "per-kernel"]


class KernelWidths(NamedTuple):
    """Standard deviations: spatial_gamma and bilateral_alpha in pixels, bilateral_beta in levels of 0..255."""

    spatial_gamma: float
    bilateral_alpha: float
    bilateral_beta: float


class DenseCRF(nn.Module):
    """Q <- softmax(s z + (Ks Q) Ms + (Kb Q) Mb), `iterations` times from Q = softmax(s z).

    Ks is the spatial and Kb the bilateral Gaussian kernel, both normalised symmetrically. Ms and Mb are
    the compatibilities, s a scale for each class.

    Args:
        classes: C.
        widths: of the kernels.
        weights: initial Potts weights of the spatial and the bilateral kernel: M = w I.
        compatibility: what is learned of each M: every entry, its diagonal, or one weight.
        iterations: mean-field iterations when forward is not told otherwise.
    """

    def __init__(
        self,
        classes: int,
        widths: KernelWidths,
        weights: tuple[float, float],
        *,
        compatibility: Compatibility = "full",
        iterations: int = 10,
    ) -> None:
        super().__init__()
        self.classes, self.widths, self.iterations = classes, widths, iterations
        start = {"full": torch.eye(classes), "per-class": torch.ones(classes), "per-kernel": torch.ones(())}
        self.unary_scale = nn.Parameter(torch.ones(classes))
        self.spatial_weight = nn.Parameter(weights[0] * start[compatibility])
        self.bilateral_weight = nn.Parameter(weights[1] * start[compatibility])

    def forward(self, logits: Tensor, image: Tensor, iterations: int | None = None) -> Tensor:
        """Logits of Q_T.

        Args:
            logits: unary logits, [N,C,H,W].
            image: float [N,3,H,W], RGB levels 0..255.
            iterations: T; the module's own when not given.

        Returns:
            float32 [N,C,H,W], whose softmax is Q_T.
        """
        with torch.autocast(logits.device.type, enabled=False):
            return self._mean_field(logits.float(), image.float(), iterations or self.iterations)

    def _mean_field(self, logits: Tensor, image: Tensor, iterations: int) -> Tensor:
        lattice = torch_ops.bilateral_lattice(image, self.widths.bilateral_alpha, self.widths.bilateral_beta)
        taps = gaussian_taps(self.widths.spatial_gamma).to(logits)
        spatial_scale = torch.rsqrt(gaussian_blur(torch.ones_like(logits[:1, :1]), taps))
        tables = [self.matrix(self.spatial_weight), self.matrix(self.bilateral_weight)]
        compatibility = torch.cat(tables).T[:, :, None, None]  # as a 1x1 convolution of both messages
        # Channel-last values make the depthwise convolutions five times faster on a CPU.
        unary = (logits * self.unary_scale[:, None, None]).contiguous(memory_format=torch.channels_last)
        z = unary
        for _ in range(iterations):
            q = z.softmax(1)
            spatial = spatial_scale * gaussian_blur(spatial_scale * q, taps)
            bilateral = torch_ops.bilateral_filter(q, *lattice)
            z = unary + F.conv2d(torch.cat([spatial, bilateral], 1), compatibility)
        return z

    def matrix(self, weight: Tensor) -> Tensor:
        """A compatibility as a matrix [C,C], whatever of it is learned."""
        if weight.ndim == 2:
            return weight
        return torch.diag_embed(weight.expand(self.classes))

    def to_card(self) -> CrfCard:
        """Widths and learned tables as the model card holds them."""
        return CrfCard(
            **self.widths._asdict(),
            iterations=self.iterations,
            unary_scale=self.unary_scale.tolist(),
            spatial_compatibility=self.matrix(self.spatial_weight).tolist(),
            bilateral_compatibility=self.matrix(self.bilateral_weight).tolist(),
        )

    @classmethod
    def from_card(cls, card: CrfCard) -> "DenseCRF":
        """The CRF of a model card, with full compatibilities."""
        widths = KernelWidths(card.spatial_gamma, card.bilateral_alpha, card.bilateral_beta)
        crf = cls(len(card.unary_scale), widths, (0.0, 0.0), iterations=card.iterations)
        with torch.no_grad():
            crf.unary_scale.copy_(torch.tensor(card.unary_scale))
            crf.spatial_weight.copy_(torch.tensor(card.spatial_compatibility))
            crf.bilateral_weight.copy_(torch.tensor(card.bilateral_compatibility))
        return crf


def gaussian_taps(sigma: float) -> Tensor:
    """exp(-x^2 / 2 sigma^2) for |x| <= 5 sigma: what is cut off is below float32 precision."""
    radius = math.ceil(5 * sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    return torch.exp(-0.5 * (x / sigma) ** 2)


def gaussian_blur(values: Tensor, taps: Tensor) -> Tensor:
    """Separable convolution of each channel of [N,C,H,W] with taps [K], zeros outside the image."""
    channels, radius = values.shape[1], taps.shape[0] // 2
    kernel = taps.expand(channels, 1, 1, -1)
    rows = F.conv2d(values, kernel, padding=(0, radius), groups=channels)
    return F.conv2d(rows, kernel.transpose(2, 3), padding=(radius, 0), groups=channels)
