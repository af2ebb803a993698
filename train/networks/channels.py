"""Networks for images of other than three channels, and weights that were learned on three."""

from collections.abc import Iterator
from typing import Any

import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from segtool.errors import SegtoolError

PICTURES = 3  # channels


def spread(weight: Tensor, channels: int) -> Tensor:
    """The weights of a first convolution [O,3,h,w] for another number of channels, as timm does it: for one they are
    added up, for more they take turns; together they are as large as before."""
    adapted: Tensor = adapt_input_conv(channels, weight)
    return adapted


def fits_but_for_channels(theirs: Tensor, ours: Tensor) -> bool:
    """Whether weights are those of a first convolution for pictures, and ours for other images."""
    same = theirs.ndim == ours.ndim == 4 and theirs.shape[0] == ours.shape[0] and theirs.shape[2:] == ours.shape[2:]
    return same and theirs.shape[1] == PICTURES != ours.shape[1]


def with_channels(network: nn.Module, channels: int) -> nn.Module:
    """A network for pictures with another first convolution in the place of its own; its weights are spread.

    Raises:
        SegtoolError: it has no such convolution.
    """
    if channels == PICTURES:
        return network
    places = [*_first_convolutions(network)]
    if not places:
        raise SegtoolError("the network has no convolution of three channels", where="model", mend="another network")
    for parent, name, first in places:
        setattr(parent, name, _changed(first, channels))
    if hasattr(network, "config"):
        set_channels(network.config, channels)
        for part in network.modules():
            set_channels(part, channels)
    return network


def set_channels(settings: Any, channels: int) -> None:
    """What models of transformers call the channels of an image."""
    if getattr(settings, "num_channels", None) == PICTURES:
        settings.num_channels = channels
    backbone = getattr(settings, "backbone_config", None)
    if backbone is not None:
        set_channels(backbone, channels)


def _first_convolutions(network: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Conv2d]]:
    for parent in network.modules():
        for name, part in parent.named_children():
            if isinstance(part, nn.Conv2d) and part.in_channels == PICTURES and part.groups == 1:
                yield parent, name, part


def _changed(first: nn.Conv2d, channels: int) -> nn.Conv2d:
    changed = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]  # a pair, as all of them are
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        first.dilation,  # type: ignore[arg-type]
        bias=first.bias is not None,
        padding_mode=first.padding_mode,
    )
    with torch.no_grad():
        changed.weight.copy_(spread(first.weight, channels))
        if first.bias is not None and changed.bias is not None:
            changed.bias.copy_(first.bias)
    return changed
