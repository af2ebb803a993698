"""Network and CRFs together, with the input contract inside."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segtool.crf.contextual.layer import ContextualCRF
from segtool.crf.layer import DenseCRF
from segtool.errors import SegtoolError
from segtool.input_contract import InputContract
from segtool.train.networks.features import last_layer, with_features


class SegmenterLogits(NamedTuple):
    """Class logits, each [N,C,H,W]: of the network, after the contextual CRF, and after the dense CRF. Where a CRF is
    missing, what comes before it."""

    unary: Tensor
    contextual: Tensor
    refined: Tensor


class Segmenter(nn.Module):
    """From images to class logits: network, contextual CRF, dense CRF.

    Args:
        network: [N,B,H,W] normalised, H and W multiples of the stride, to logits [N,C,H,W].
        contract: what images are, normalisation and stride.
        crf: the dense CRF; None for a segmenter without one.
        context: the contextual CRF; None for a segmenter without one.
    """

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
        self.mean, self.std = (contract.unit * _of_channels(numbers) for numbers in (contract.mean, contract.std))
        self.low, self.high = _of_channels(contract.low), _of_channels(contract.high)

    @property
    def last_crf(self) -> DenseCRF | ContextualCRF | None:
        """The CRF whose logits are the result; None for a network alone."""
        return self.context if self.crf is None else self.crf

    def unary(self, image: Tensor) -> Tensor:
        """Logits [N,C,H,W] of the network for images [N,B,H,W] of any size, floating-point numbers as they are read."""
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
        x = (self.finite(image) - self.mean) / self.std
        missing: Any = (0, self._padded(width) - width, 0, self._padded(height) - height)
        return F.pad(x, missing)  # zero is the mean colour

    def finite(self, image: Tensor) -> Tensor:
        """The image [N,B,H,W] with numbers that are no outliers; the mean where there are no data."""
        contract = self.contract
        if contract.bands is None:
            return image
        span = self.high - self.low
        known = torch.maximum(torch.minimum(image, self.high + span), self.low - span)
        if contract.kind == "float32":
            return torch.where(torch.isnan(image), self.mean, known)
        if contract.nodata is None:
            return known
        return torch.where(image == contract.nodata, self.mean, known)

    def guide(self, image: Tensor) -> Tensor:
        """What the colour kernel of the dense CRF sees of images [N,B,H,W]: levels 0..255, [N,3,H,W]."""
        if self.contract.bands is None:
            return image
        levels = (self.finite(image) - self.low) * (255 / (self.high - self.low))
        channels = [levels[:, channel - 1 : channel] for channel in self.contract.guide]
        return torch.cat(channels, 1).clamp(0, 255)

    def _padded(self, side: int) -> int | torch.SymInt:
        """The next multiple of the stride, from two strides on: of one, nothing would be left to normalise over in the
        deepest layer."""
        # Not by the remainder of -side: TensorRT takes that for a size that may be negative.
        multiple = (side + self.stride - 1) // self.stride * self.stride
        return torch.sym_max(multiple, 2 * self.stride)

    def forward(self, image: Tensor) -> SegmenterLogits:
        """All logits of images [N,B,H,W], floating-point numbers as they are read."""
        unary, contextual = self.contextual(image)
        refined = contextual if self.crf is None else self.crf(contextual, self.guide(image))
        return SegmenterLogits(unary, contextual, refined)


def _of_channels(numbers: Sequence[float]) -> nn.Buffer:
    """[B,1,1], which moves with the module and is no part of its state: the card holds it."""
    return nn.Buffer(torch.tensor(numbers)[:, None, None], persistent=False)


def _cut(maps: Tensor, height: int, width: int) -> Tensor:
    cut = maps[:, :, :height, :width]
    for axis, side in ((2, height), (3, width)):
        # PyTorch 2.11's exporter cannot tell that from the padding, and has to know it.
        torch._check(cut.shape[axis] == side, lambda: "the network gives maps of another size than its card says")
    return cut
