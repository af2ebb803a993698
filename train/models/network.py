"""Building networks by name."""

from typing import Any

import segmentation_models_pytorch as smp
import timm
from torch import nn

from segtool.errors import SegtoolError
from segtool.train.suggest import unknown


def build_network(
    architecture: str, encoder: str, classes: int, options: dict[str, Any], weights: str | None = None
) -> nn.Module:
    """A segmentation-models-pytorch network from [N,3,H,W] to logits [N,C,H,W].

    Args:
        architecture: such as FPN, Unet, DeepLabV3Plus, Segformer.
        encoder: one of the library's, or `tu-` and the name of a timm model.
        classes: C.
        options: more keyword arguments of that architecture.
        weights: "imagenet" downloads pretrained encoder weights; None starts from scratch.

    Raises:
        SegtoolError: unknown architecture or encoder, bad options, or no weights to be had.
    """
    names = {name.lower(): model for name, model in _architectures().items()}
    if architecture.lower() not in names:
        raise unknown("model.architecture", architecture, _architectures())
    _check_encoder(encoder)
    try:
        return names[architecture.lower()](encoder, encoder_weights=weights, classes=classes, **options)
    except (OSError, RuntimeError) as error:
        if weights is None:
            raise SegtoolError(f"{architecture} with {encoder} cannot be built: {error}") from error
        raise SegtoolError(
            "pretrained weights could not be downloaded",
            where=encoder,
            mend="train from scratch: --set model.weights=null",
        ) from error
    except (TypeError, ValueError, KeyError) as error:
        raise SegtoolError(f"{architecture} with {encoder} cannot be built: {error}", where="model.options") from error


def _architectures() -> dict[str, type]:
    return {model.__name__: model for model in smp.MODEL_ARCHITECTURES_MAPPING.values()}


def _check_encoder(encoder: str) -> None:
    known = smp.encoders.get_encoder_names()
    if encoder.startswith("tu-"):
        if not timm.is_model(encoder[3:]):
            raise unknown("model.encoder", encoder, [f"tu-{name}" for name in timm.list_models()])
    elif encoder not in known:
        raise unknown("model.encoder", encoder, [*known, *(f"tu-{name}" for name in timm.list_models())])
