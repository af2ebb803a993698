"""Where networks come from. Each function gives a network from [N,B,H,W] to logits [N,C,H,W]."""

from typing import Any

import segmentation_models_pytorch as smp
import timm
from torch import nn

from segtool.errors import SegtoolError
from segtool.suggest import unknown
from segtool.train.config.settings import ModelConfig
from segtool.train.networks import pretrained
from segtool.train.networks.adapted import Adapted
from segtool.train.networks.channels import PICTURES, set_channels, with_channels
from segtool.train.networks.featmap import FeatMapNet
from segtool.train.networks.unet import UNet
from segtool.user_code import load_factory

OWN = {"UNet": UNet, "FeatMapNet": FeatMapNet}


def smp_network(config: ModelConfig, classes: int, channels: int) -> nn.Module:
    """Of segmentation-models-pytorch."""
    known = {model.__name__: model for model in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    build = _named(known, config.architecture)
    _check_encoder(config.encoder)
    hub = config.weights if config.weights and not pretrained.is_file(config.weights) else None
    # Encoders of timm have one set of weights each: theirs is True.
    chosen = True if hub and config.encoder.startswith("tu-") else hub
    settings = {"encoder_weights": chosen, "classes": classes, **config.options, "in_channels": channels}
    if hub is None:
        return _built(config, build, config.encoder, **settings)
    with pretrained.from_hub(f"weights of {config.encoder}"):
        return _built(config, build, config.encoder, **settings)


def own_network(config: ModelConfig, classes: int, channels: int) -> nn.Module:
    """One of segtool's own."""
    build = _named(OWN, config.architecture)
    if build is not FeatMapNet:
        _only_files(config)
        return _built(config, build, classes=classes, **{**config.options, "in_channels": channels})
    _check_encoder(config.encoder)
    settings = {**config.options, "in_channels": channels}
    if config.weights is None or pretrained.is_file(config.weights):
        return _built(config, build, classes, config.encoder, **settings)
    with pretrained.from_hub(f"weights of {config.encoder}"):
        return _built(config, build, classes, config.encoder, config.weights, **settings)


def torchvision_network(config: ModelConfig, classes: int, channels: int) -> nn.Module:
    """Of torchvision.models.segmentation."""
    from torchvision.models import get_model, list_models, segmentation

    known = list_models(segmentation)
    if config.architecture not in known:
        raise unknown("model.architecture", config.architecture, known)
    settings = {"weights": None, "num_classes": classes, **config.options}
    if config.weights is None or pretrained.is_file(config.weights):
        body = _built(config, get_model, config.architecture, weights_backbone=None, **settings)
        return Adapted(with_channels(body, channels))
    if config.weights != "imagenet":
        raise unknown("model.weights", config.weights, ["imagenet", "null", "FILE"])
    with pretrained.from_hub(f"weights of {config.architecture}"):
        body = _built(config, get_model, config.architecture, weights_backbone="DEFAULT", **settings)
    return Adapted(with_channels(body, channels))


def transformers_network(config: ModelConfig, classes: int, channels: int) -> nn.Module:
    """Of transformers: SegFormer and other semantic heads, Mask2Former, EoMT and other heads of mask queries."""
    import transformers

    if config.weights is None or pretrained.is_file(config.weights):
        settings = _transformers_config(config, classes, channels)
        return Adapted(_built(config, _transformers_class(settings).from_config, settings), config.input_size)
    if config.weights == "imagenet":
        raise SegtoolError(
            "models of transformers have weights by name",
            where="model.weights",
            mend="--set model.weights=nvidia/mit-b0, or null to train from scratch",
        )
    with pretrained.from_hub(f"weights {config.weights}"):
        settings = transformers.AutoConfig.from_pretrained(config.weights)
        build = _transformers_class(settings).from_pretrained
        body = _built(config, build, config.weights, num_labels=classes, ignore_mismatched_sizes=True, **config.options)
    return Adapted(with_channels(body, channels), config.input_size)


def python_network(config: ModelConfig, classes: int, channels: int) -> nn.Module:
    """The user's own."""
    _only_files(config)
    of_images = {} if channels == PICTURES else {"in_channels": channels}  # a network for pictures need not know it
    network = _built(config, load_factory(config.source), **{"classes": classes, **config.options, **of_images})
    if not isinstance(network, nn.Module):
        raise SegtoolError(f"the factory gave {type(network).__name__}, not a torch.nn.Module", where=config.source)
    return Adapted(network, config.input_size)


def resolved(config: ModelConfig, network: nn.Module) -> ModelConfig:
    """The configuration with all that a checkpoint needs to build the network again, without the hub."""
    if config.source != "transformers" or not isinstance(network, Adapted):
        return config
    settings: Any = network.body.config
    skipped = {"id2label", "label2id", "num_labels", "transformers_version", "architectures", "_name_or_path"}
    options = {key: value for key, value in settings.to_diff_dict().items() if key not in skipped}
    changes = {"architecture": options.pop("model_type", settings.model_type), "options": options}
    return config.model_copy(update=changes)


def _transformers_config(config: ModelConfig, classes: int, channels: int) -> Any:
    from transformers import CONFIG_MAPPING, AutoConfig

    if config.architecture not in CONFIG_MAPPING:
        raise unknown("model.architecture", config.architecture, list(CONFIG_MAPPING))
    settings = _built(config, AutoConfig.for_model, config.architecture, num_labels=classes, **config.options)
    set_channels(settings, channels)
    return settings


def _transformers_class(settings: Any) -> Any:
    from transformers import AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation

    for auto in (AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation):
        if type(settings) in auto._model_mapping:
            return auto
    raise SegtoolError("this model of transformers has no segmentation head", where=settings.model_type)


def _only_files(config: ModelConfig) -> None:
    if config.weights is not None and not pretrained.is_file(config.weights):
        raise SegtoolError(
            f"there are no {config.weights} weights for it",
            where=config.source,
            mend="--set model.weights=null, or a file",
        )


def _named(known: dict[str, Any], name: str) -> Any:
    by_lower = {key.lower(): value for key, value in known.items()}
    if name.lower() not in by_lower:
        raise unknown("model.architecture", name, known)
    return by_lower[name.lower()]


def _built(config: ModelConfig, build: Any, *arguments: Any, **settings: Any) -> Any:
    """What `build` makes; its refusals name the setting."""
    try:
        return build(*arguments, **settings)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, OSError):  # of the hub
            raise
        what = config.source if config.source != "smp" else f"{config.architecture} with {config.encoder}"
        raise SegtoolError(f"{what} cannot be built: {error}", where="model.options") from error


def _check_encoder(encoder: str) -> None:
    known = smp.encoders.get_encoder_names()
    if encoder.startswith("tu-"):
        if not timm.is_model(encoder[3:].partition(".")[0]):
            raise unknown("model.encoder", encoder, [f"tu-{name}" for name in timm.list_models()])
    elif encoder not in known:
        raise unknown("model.encoder", encoder, [*known, *(f"tu-{name}" for name in timm.list_models())])
