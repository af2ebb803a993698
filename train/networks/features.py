"""What the last layer of a network reads: the features by which the contextual CRF knows a place."""

from threading import get_ident
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from segtool.card import ContextCard
from segtool.errors import SegtoolError
from segtool.train.networks.adapted import HEADS, part_of

_SHOWN = ((4, 5), (6, 4))  # strides; heights and widths of tried images


class FeatureSize(NamedTuple):
    """Channels of the features, and pixels from one to the next."""

    channels: int
    stride: int


def last_layer(network: nn.Module, classes: int) -> nn.Conv2d | None:
    """The convolution of a network's head that gives the logits; None where nothing is called so."""
    head = part_of(network, HEADS)
    if head is None:
        return None
    found = [part for part in head.modules() if isinstance(part, nn.Conv2d) and part.out_channels == classes]
    return found[-1] if found else None


def with_features(network: nn.Module, layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of a network, and what one of its layers read for them.

    Raises:
        SegtoolError: the network did not use the layer.
    """
    seen: list[Tensor] = []
    thread = get_ident()  # another thread's features are not ours

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if get_ident() == thread and inputs:
            seen.append(inputs[0])

    hook = layer.register_forward_pre_hook(keep)
    try:
        logits: Tensor = network(x)
    finally:
        hook.remove()
    if not seen:
        raise SegtoolError("the network does not use the layer that the contextual CRF is to read", where="context")
    return logits, seen[-1]


@torch.no_grad()
def feature_size(network: nn.Module, layer: nn.Module, stride: int, channels: int = 3) -> FeatureSize | None:
    """What a layer reads when the network is shown images; None unless it is maps with a whole number of pixels, a
    divisor of `stride`, from one place to the next, whatever size an image has.

    Args:
        network: in eval mode.
        stride: that of the network: sides of images are multiples of it.
        channels: of images.
    """
    device = next(network.parameters()).device
    found = set()
    for sides in _SHOWN:
        shown = torch.zeros(1, channels, *(stride * side for side in sides), device=device)
        try:
            features = with_features(network, layer, shown)[1]
        except SegtoolError:
            return None
        if not isinstance(features, Tensor) or features.ndim != len(shown.shape):
            return None
        steps = {image / own for image, own in zip(shown.shape[2:], features.shape[2:], strict=True)}
        found |= {(features.shape[1], step) for step in steps}
    channels, step = next(iter(found))
    if len(found) > 1 or step != int(step) or stride % int(step):
        return None
    return FeatureSize(channels, int(step))


def check_features(network: nn.Module, card: ContextCard, classes: int, where: object) -> None:
    """Refuses a card whose contextual CRF reads what its network does not have.

    Raises:
        SegtoolError: names the file.
    """
    if card.reads_logits:
        found = classes
    elif (layer := last_layer(network, classes)) is not None:
        found = layer.in_channels
    else:
        raise SegtoolError("the network in the model card has no head for its contextual CRF to read", where=where)
    if found != card.features:
        what = f"the contextual CRF in the model card reads {card.features} channels, the network has {found}"
        raise SegtoolError(what, where=where)
