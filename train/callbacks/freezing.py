"""Freezing a pretrained encoder at first, and letting it go block by block."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import nn

from segtool.errors import SegtoolError
from segtool.train.networks.adapted import ENCODERS, part_of

_BOX = 0.85  # share of the parameters; the last stage of a ResNet-18 has 0.75


class UnfreezeEncoder(Callback):
    """Keeps the encoder as it is for the first epochs; then each epoch frees one more of its blocks, the deepest first.

    Frozen blocks have neither gradients nor moving batch statistics.

    Args:
        network: with an `encoder` or a `backbone`.
        share: of the epochs in which all of the encoder is frozen, 0..1.

    Raises:
        SegtoolError: the network has no encoder.
    """

    def __init__(self, network: nn.Module, share: float) -> None:
        encoder = part_of(network, ENCODERS)
        if encoder is None:
            raise SegtoolError("the network has no encoder to freeze", where="unary.freeze_encoder", mend="set it to 0")
        self.share, self.blocks = share, encoder_blocks(encoder)
        self._epochs: int | None = None  # that the stage was begun with: what is free stays so in a longer one

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self._epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._epochs = state_dict["epochs"]

    def frozen_blocks(self, epoch: int, epochs: int) -> int:
        """How many blocks, counted from the image, are still frozen in an epoch that counts from 0."""
        frozen_epochs = max(1, round(self.share * epochs))
        return max(0, len(self.blocks) - max(0, epoch - frozen_epochs + 1))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._epochs = self._epochs or trainer.max_epochs or 1
        frozen = self.frozen_blocks(trainer.current_epoch, self._epochs)
        for number, block in enumerate(self.blocks):
            block.train(number >= frozen)
            for parameter in block.parameters():
                parameter.requires_grad_(number >= frozen)


def encoder_blocks(encoder: nn.Module) -> list[nn.Module]:
    """The parts of an encoder that hold parameters, from the image on.

    A part that holds nearly all of them is only a box around the stages (timm wraps each encoder, and MobileNetV3 has
    all its stages in one Sequential): its own parts take its place.
    """
    blocks: list[nn.Module] = []
    for child in encoder.children():
        boxed = _size(child) > _BOX * _size(encoder) and len(list(child.children())) > 1
        blocks += encoder_blocks(child) if boxed else [child]
    return [block for block in blocks if _size(block)]


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
