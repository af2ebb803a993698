"""Network and CRF together, with the input contract inside."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segtool.card import InputContract
from segtool.crf.layer import DenseCRF


class Segmenter(nn.Module):
    """From RGB levels to class logits, before and after the CRF.

    Args:
        network: [N,3,H,W] normalised, H and W multiples of the stride, to logits [N,C,H,W].
        contract: normalisation and stride.
        crf: None for a network alone.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, contract: InputContract, crf: DenseCRF | None = None) -> None:
        super().__init__()
        self.network, self.crf, self.contract, self.stride = network, crf, contract, contract.stride
        self.register_buffer("mean", 255 * torch.tensor(contract.mean)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(contract.std)[:, None, None], persistent=False)

    def unary(self, image: Tensor) -> Tensor:
        """Logits [N,C,H,W] of the network for images [N,3,H,W] of any size, float levels 0..255."""
        height, width = image.shape[2:]
        x = (image - self.mean) / self.std
        missing: Any = (0, self._padded(width) - width, 0, self._padded(height) - height)
        x = F.pad(x, missing)  # zero is the mean colour
        logits: Tensor = self.network(x)[:, :, :height, :width]
        for axis, side in ((2, height), (3, width)):
            # PyTorch 2.11's exporter cannot tell that from the padding, and has to know it.
            torch._check(logits.shape[axis] == side)
        return logits

    def _padded(self, side: int) -> int | torch.SymInt:
        """The next multiple of the stride, from two strides on: of one, nothing would be left to normalise over in the
        deepest layer."""
        # Not by the remainder of -side: TensorRT takes that for a size that may be negative.
        multiple = (side + self.stride - 1) // self.stride * self.stride
        return torch.sym_max(multiple, 2 * self.stride)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits before and after the CRF, each [N,C,H,W]; the same tensor twice without a CRF."""
        unary = self.unary(image)
        return unary, unary if self.crf is None else self.crf(unary, image)
