"""Network and CRF together, with the input contract inside."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segtool.card import InputContract
from segtool.train.models.crf import DenseCRF


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
        self.network, self.crf, self.stride = network, crf, contract.stride
        self.register_buffer("mean", 255 * torch.tensor(contract.mean)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(contract.std)[:, None, None], persistent=False)

    def unary(self, image: Tensor) -> Tensor:
        """Logits [N,C,H,W] of the network for images [N,3,H,W] of any size, float levels 0..255."""
        height, width = image.shape[2:]
        x = (image - self.mean) / self.std
        # Zero is the mean colour. A multiple of the stride is left as it is.
        x = F.pad(x, (0, -width % self.stride, 0, -height % self.stride))
        return self.network(x)[:, :, :height, :width]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits before and after the CRF, each [N,C,H,W]; the same tensor twice without a CRF."""
        unary = self.unary(image)
        return unary, unary if self.crf is None else self.crf(unary, image)
