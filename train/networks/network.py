"""Building networks: segmentation-models-pytorch, torchvision, transformers, segtool's own, and the user's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from segtool.errors import SegtoolError
from segtool.suggest import unknown
from segtool.train.config.settings import ModelConfig
from segtool.train.networks import pretrained, sources
from segtool.train.networks.adapted import HEADS, part_of
from segtool.train.networks.channels import PICTURES

_BUILDERS: dict[str, Callable[[ModelConfig, int, int], nn.Module]] = {
    "smp": sources.smp_network,
    "segtool": sources.own_network,
    "torchvision": sources.torchvision_network,
    "transformers": sources.transformers_network,
}


def build_network(config: ModelConfig, classes: int, channels: int = PICTURES) -> nn.Module:
    """A network from normalised images [N,channels,H,W] to logits [N,classes,H,W].

    Args:
        config: where it comes from.

            ============================ ================================================= =====================
            source                       architecture                                      weights
            ============================ ================================================= =====================
            smp                          FPN, Unet, DeepLabV3Plus, ... with any `encoder`   imagenet, file, null
            segtool                      UNet; FeatMapNet with most encoders of smp        file, null; imagenet
            torchvision                  deeplabv3_resnet50, lraspp_mobilenet_v3_large, ... imagenet, file, null
            transformers                 segformer, mask2former, ... (the model type)      hub name, folder, null
            python:MODULE:FACTORY        -                                                 file, null
            python:FILE.py:FACTORY       -                                                 file, null
            ============================ ================================================= =====================

            FACTORY is called with `classes`, the options, and `in_channels` where images do not have three; its network
            may give logits of any size [N,C,h,w], or a dict with them under "out" or "logits".
        classes: C.
        channels: B. Weights for another number are spread over them, see `segtool.train.networks.channels`.

    Raises:
        SegtoolError: an unknown name, bad options, no weights to be had; or code of the user's that is not trusted.
    """
    if config.source.startswith("python:"):
        network = sources.python_network(config, classes, channels)
    elif config.source in _BUILDERS:
        network = _BUILDERS[config.source](config, classes, channels)
    else:
        raise unknown("model.source", config.source, [*_BUILDERS, "python:MODULE:FACTORY"])
    if config.weights is not None and pretrained.is_file(config.weights):
        pretrained.load_weights(network, Path(config.weights), classes)
    if config.head_dropout:
        _drop_before_head(network, config.head_dropout)
    return network


def _drop_before_head(network: nn.Module, probability: float) -> None:
    head = part_of(network, HEADS)
    if head is None:
        raise SegtoolError(
            f"the network has none of {', '.join(HEADS)}", where="model.head_dropout", mend="set it to 0"
        )

    # A hook rather than a layer: the names of the weights stay those of the library.
    def drop(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        first: Tensor = inputs[0]
        return (F.dropout2d(first, probability, module.training), *inputs[1:])

    head.register_forward_pre_hook(drop)
