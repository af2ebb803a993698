"""The dense CRF as a layer: unrolled mean field with learnable compatibilities.

Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials"
(2011), equation 3 and algorithm 1; unrolled and trained as in Zheng et al., "Conditional Random Fields
as Recurrent Neural Networks" (2015).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from segtool.card import Compatibility, CrfCard, Matrix
from segtool.crf import operators, plain
from segtool.crf.widths import learnable_bilateral_filter, learnable_spatial_filter

Filter = Callable[[Tensor], Tensor]


class KernelWidths(NamedTuple):
    """Standard deviations: spatial_gamma and bilateral_alpha in pixels, bilateral_beta in levels of 0..255."""

    spatial_gamma: float
    bilateral_alpha: float
    bilateral_beta: float


class DenseCRF(nn.Module):
    """Q <- softmax(s log p + (Ks Q) Ms + (Kb Q) Mb), `iterations` times from Q = softmax(s log p), p = softmax(z).

    Ks is the spatial and Kb the bilateral Gaussian kernel, both normalised symmetrically. Ms and Mb are
    the compatibilities, s a scale for each class. log p is the logits z less their logsumexp, so that a number added to
    all logits of a pixel changes nothing.

    Args:
        classes: C.
        widths: of the kernels.
        weights: initial Potts weights of the spatial and the bilateral kernel: M = w I.
        compatibility: what is learned of each M: every entry, its diagonal, or one weight.
        learn_widths: whether the widths are learned too.
        normalize_unary: False scales the logits as they come, as models of card schema 1 do.
        iterations: mean-field iterations when forward is not told otherwise.
    """

    def __init__(
        self,
        classes: int,
        widths: KernelWidths,
        weights: tuple[float, float],
        *,
        compatibility: Compatibility = "full",
        learn_widths: bool = False,
        normalize_unary: bool = True,
        iterations: int = 10,
    ) -> None:
        super().__init__()
        self.classes, self.iterations, self._initial_widths = classes, iterations, widths
        self.compatibility, self.normalize_unary = compatibility, normalize_unary
        self.temperature = 1.0  # divides the logits of Q_T
        # As logarithms: they stay positive, and a step changes them by a share of themselves.
        self.log_widths = nn.Parameter(torch.tensor(widths).log()) if learn_widths else None
        start = {"full": torch.eye(classes), "per-class": torch.ones(classes), "per-kernel": torch.ones(())}
        self.unary_scale = nn.Parameter(torch.ones(classes))
        self.spatial_weight = nn.Parameter(weights[0] * start[compatibility])
        self.bilateral_weight = nn.Parameter(weights[1] * start[compatibility])

    def forward(self, logits: Tensor, image: Tensor, iterations: int | None = None) -> Tensor:
        """Logits of Q_T, divided by the temperature.

        Args:
            logits: unary logits, [N,C,H,W].
            image: float [N,3,H,W], RGB levels 0..255.
            iterations: T; the module's own when not given.

        Returns:
            float32 [N,C,H,W], whose softmax is Q_T.
        """
        with torch.autocast(logits.device.type, enabled=False):
            q = self._mean_field(self._unary(logits.float()), image.float(), iterations or self.iterations)
            return q if self.temperature == 1 else q / self.temperature

    def _unary(self, logits: Tensor) -> Tensor:
        if self.normalize_unary:
            logits = plain.log_softmax(logits)
        # The classes of a pixel lie together in memory, which is what filters and matrix products read.
        return (logits * self.unary_scale[:, None, None]).contiguous(memory_format=torch.channels_last)

    def _mean_field(self, unary: Tensor, image: Tensor, iterations: int) -> Tensor:
        spatial, bilateral = self._filters(image)
        tables = self.matrix(self.spatial_weight), self.matrix(self.bilateral_weight)
        q = plain.softmax(unary)
        for left in reversed(range(iterations)):
            q = operators.mean_field_update(unary, spatial(q), bilateral(q), *tables, normalize=left > 0)
        return q

    def _filters(self, image: Tensor) -> tuple[Filter, Filter]:
        """The spatial and the bilateral kernel of an image."""
        gamma, alpha, beta = self.widths
        lattice = operators.bilateral_lattice(image, alpha, beta)
        if self.log_widths is not None and torch.is_grad_enabled():
            g, a, b = self.log_widths.exp().unbind()
            return (
                lambda q: learnable_spatial_filter(q, g),
                lambda q: learnable_bilateral_filter(q, lattice, image, a, b),
            )
        return (lambda q: operators.spatial_filter(q, gamma)), (lambda q: operators.bilateral_filter(q, *lattice))

    @property
    def widths(self) -> KernelWidths:
        """The kernel widths as they are now."""
        return self._initial_widths if self.log_widths is None else KernelWidths(*self.log_widths.exp().tolist())

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
            normalize_unary=self.normalize_unary,
            unary_scale=self.unary_scale.tolist(),
            spatial_compatibility=self.matrix(self.spatial_weight).tolist(),
            bilateral_compatibility=self.matrix(self.bilateral_weight).tolist(),
            temperature=self.temperature,
            compatibility=self.compatibility,
            learn_widths=self.log_widths is not None,
        )

    def fixed(self) -> "DenseCRF":
        """The same CRF with whole tables and with widths that are numbers: what is exported."""
        return self.from_card(self.to_card().model_copy(update={"compatibility": "full", "learn_widths": False}))

    @classmethod
    def from_card(cls, card: CrfCard) -> "DenseCRF":
        """The CRF of a model card, with what the card says is learned."""
        crf = cls(
            len(card.unary_scale),
            KernelWidths(card.spatial_gamma, card.bilateral_alpha, card.bilateral_beta),
            (0.0, 0.0),
            compatibility=card.compatibility,
            learn_widths=card.learn_widths,
            normalize_unary=card.normalize_unary,
            iterations=card.iterations,
        )
        crf.temperature = card.temperature
        with torch.no_grad():
            crf.unary_scale.copy_(torch.tensor(card.unary_scale))
            crf.spatial_weight.copy_(_learned_part(card.spatial_compatibility, card.compatibility))
            crf.bilateral_weight.copy_(_learned_part(card.bilateral_compatibility, card.compatibility))
        return crf


def _learned_part(table: Matrix, compatibility: Compatibility) -> Tensor:
    """What of a table [C,C] is a parameter."""
    whole = torch.tensor(table)
    return {"full": whole, "per-class": whole.diagonal(), "per-kernel": whole[0, 0]}[compatibility]
