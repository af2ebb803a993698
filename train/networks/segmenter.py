"""Network and CRFs together, with the input contract inside."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segtool.card import InputContract
from segtool.crf.contextual.layer import ContextualCRF
from segtool.crf.layer import DenseCRF
from segtool.errors import SegtoolError
from segtool.train.networks.features import last_layer, with_features


class SegmenterLogits(NamedTuple):
    """Class logits, each [N,C,H,W]: of the network, after the contextual CRF, and after the dense CRF. Where a CRF is
    missing, what comes before it."""

    unary: Tensor
    contextual: Tensor
    refined: Tensor


class Segmenter(nn.Module):
    """From RGB levels to class logits: network, contextual CRF, dense CRF.

    Args:
        network: [N,3,H,W] normalised, H and W multiples of the stride, to logits [N,C,H,W].
        contract: normalisation and stride.
        crf: the dense CRF; None for a segmenter without one.
        context: the contextual CRF; None for a segmenter without one.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        contract: InputContract,
        crf: DenseCRF | None = None,
        context: ContextualCRF | None = None,
    ) -> None:
        super().__init__()
        self.network, self.crf, self.contract, self.stride = network, crf, contract, contract.stride
        self.context = context
        self.register_buffer("mean", 255 * torch.tensor(contract.mean)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(contract.std)[:, None, None], persistent=False)

    @property
    def last_crf(self) -> DenseCRF | ContextualCRF | None:
        """The CRF whose logits are the result; None for a network alone."""
        return self.context if self.crf is None else self.crf

    def unary(self, image: Tensor) -> Tensor:
        """Logits [N,C,H,W] of the network for images [N,3,H,W] of any size, float levels 0..255."""
        return _cut(self.network(self._normalized(image)), *image.shape[2:])

    def contextual(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits before and after the contextual CRF, each [N,C,H,W]; the same tensor twice without one."""
        if self.context is None:
            unary = self.unary(image)
            return unary, unary
        unary, features = self.with_features(image)
        return unary, self.context(unary, features)

    def with_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the network [N,C,H,W], and the features [N,F,ceil(H/k),ceil(W/k)] that the contextual CRF reads."""
        assert self.context is not None
        card, (height, width) = self.context.card, image.shape[2:]
        if card.reads_logits:
            unary = self.unary(image)
            return unary, unary
        logits, features = self.run(self._normalized(image))
        # What was made of the padding is no part of the image.
        rows, columns = ((side + card.feature_stride - 1) // card.feature_stride for side in (height, width))
        return _cut(logits, height, width), _cut(features, rows, columns)

    def run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features of the network for what it takes, not cut to the image."""
        assert self.context is not None
        layer = last_layer(self.network, self.context.classes)
        if layer is None:
            raise SegtoolError("the network has no head for the contextual CRF to read", where="context")
        return with_features(self.network, layer, x)

    def _normalized(self, image: Tensor) -> Tensor:
        """What the network takes: normalised, and padded to multiples of the stride."""
        height, width = image.shape[2:]
        x = (image - self.mean) / self.std
        missing: Any = (0, self._padded(width) - width, 0, self._padded(height) - height)
        return F.pad(x, missing)  # zero is the mean colour

    def _padded(self, side: int) -> int | torch.SymInt:
        """The next multiple of the stride, from two strides on: of one, nothing would be left to normalise over in the
        deepest layer."""
        # Not by the remainder of -side: TensorRT takes that for a size that may be negative.
        multiple = (side + self.stride - 1) // self.stride * self.stride
        return torch.sym_max(multiple, 2 * self.stride)

    def forward(self, image: Tensor) -> SegmenterLogits:
        """All logits of images [N,3,H,W], float levels 0..255."""
        unary, contextual = self.contextual(image)
        return SegmenterLogits(unary, contextual, contextual if self.crf is None else self.crf(contextual, image))


def _cut(maps: Tensor, height: int, width: int) -> Tensor:
    cut = maps[:, :, :height, :width]
    for axis, side in ((2, height), (3, width)):
        # PyTorch 2.11's exporter cannot tell that from the padding, and has to know it.
        torch._check(cut.shape[axis] == side, lambda: "the network gives maps of another size than its card says")
    return cut
