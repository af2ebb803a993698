"""The dense CRF as a layer: unrolled mean field with learnable compatibilities.

Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials"
(2011), equation 3 and algorithm 1; unrolled and trained as in Zheng et al., "Conditional Random Fields
as Recurrent Neural Networks" (2015).
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segtool.bilateral import torch_ops, torch_spatial
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
        tables = [self.matrix(self.spatial_weight), self.matrix(self.bilateral_weight)]
        # Exported, everything but the lattice is standard operators on contiguous [N,C,H,W]. Otherwise the
        # classes of a pixel lie together in memory, which is what the filters and matrix products read.
        exporting = torch.compiler.is_exporting()
        blur = torch_spatial.spatial_filter if exporting else torch_ops.spatial_filter
        mix = _mix if exporting else _mix_rows
        unary = (logits * self.unary_scale[:, None, None]).contiguous(memory_format=torch.channels_last)
        z = unary
        for _ in range(iterations):
            q = z.softmax(1)
            messages = [blur(q, self.widths.spatial_gamma), torch_ops.bilateral_filter(q, *lattice)]
            z = unary + mix(messages, tables)
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


def _mix(messages: list[Tensor], tables: list[Tensor]) -> Tensor:
    """The sum of messages [N,C,H,W] times compatibilities [C,C], as one 1x1 convolution."""
    return F.conv2d(torch.cat(messages, 1), torch.cat(tables).T[:, :, None, None])


def _mix_rows(messages: list[Tensor], tables: list[Tensor]) -> Tensor:
    """As `_mix`, for channel-last messages: a matrix product over the rows of pixels."""
    rows = [message.permute(0, 2, 3, 1) @ table for message, table in zip(messages, tables, strict=True)]
    return (rows[0] + rows[1]).permute(0, 3, 1, 2)
