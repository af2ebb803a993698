"""Whether `model.options` means what it says: libraries take unknown keywords and leave them unused."""

import difflib
import inspect
import re
import typing
from collections.abc import Callable, Collection, Iterator
from typing import Any

import segmentation_models_pytorch as smp
import timm

from segtool.errors import SegtoolError
from segtool.suggest import unknown
from segtool.train.config.settings import ModelConfig
from segtool.train.networks.sources import OWN
from segtool.user_code import load_factory

_BY_DATA, _BY_IMAGES = "leave it out: the data say how many", "leave it out: data.bands says how many"
_BY_WEIGHTS = "--set model.weights=... instead"
_LOGITS = "leave it out: networks give logits"
# What is set elsewhere, and where.
_ELSEWHERE = {
    "classes": _BY_DATA, "num_classes": _BY_DATA, "num_labels": _BY_DATA,
    "encoder": "--set model.encoder=... instead",
    "in_channels": _BY_IMAGES, "in_chans": _BY_IMAGES, "num_channels": _BY_IMAGES,
    "encoder_name": "--set model.encoder=... instead", "encoder_weights": _BY_WEIGHTS, "weights": _BY_WEIGHTS,
    "weights_backbone": _BY_WEIGHTS, "pretrained": _BY_WEIGHTS, "activation": _LOGITS, "aux_params": _LOGITS,
}  # fmt: skip
# Keywords by which timm, torchvision, transformers and segmentation-models-pytorch fetch something or read a file.
_FETCHING = frozenset(
    {
        "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_backbone", "use_pretrained_backbone",
        "weights", "weights_backbone", "encoder_weights", "checkpoint_path", "cache_dir", "state_dict",
        "url", "file", "hf_hub_id", "hf_hub_filename", "custom_load", "auto_map", "code_revision", "trust_remote_code",
    }
)  # fmt: skip
_CHANNELS = 3
_TIMM_BUILDERS = ("bn_eps", "bn_momentum", "bn_tf")  # which builders of its models read, and no signature names
_OLD_NAMES = ("decoder_use_batchnorm", "psp_use_batchnorm", "upscale_mode")  # which smp still reads


def check_options(config: ModelConfig) -> None:
    """Refuses options that nothing reads, and those that are set elsewhere.

    Raises:
        SegtoolError: names the option, and the near known one or where it is set.
    """
    own_code = config.source.startswith("python:")
    for key, value in config.options.items():
        if key in _ELSEWHERE and not (own_code and key != "classes"):
            if _ELSEWHERE[key] == _BY_IMAGES and value == _CHANNELS:
                continue
            raise SegtoolError(f"{key} is no option", where="model.options", mend=_ELSEWHERE[key])
    if not own_code:
        check_fetching(config)
    known = _known(config)
    for key in config.options:
        if known is not None and key not in known:
            raise unknown("key of model.options", key, set(known) - _ELSEWHERE.keys())


def check_fetching(config: ModelConfig) -> None:
    """Refuses options with which a library would fetch something or read a file: the network is built from its own.

    Raises:
        SegtoolError: names the option.
    """
    for key in _fetching(config.options):
        what = f"the option {key} would have a library fetch or read something"
        raise SegtoolError(what, where="model.options", mend=f"leave it out; for weights {_BY_WEIGHTS}")


def _known(config: ModelConfig) -> Collection[str] | None:
    """The options that are read; None where that cannot be known."""
    if config.source == "smp":
        return _of_smp(config)
    if config.source == "torchvision":
        return ["aux_loss"]  # its other keywords are set elsewhere or unused
    if config.source == "transformers":
        return _of_transformers(config.architecture)
    if config.source == "segtool":
        return _of_own(config.architecture)
    return _parameters(load_factory(config.source)) if config.source.startswith("python:") else None


def _of_smp(config: ModelConfig) -> Collection[str] | None:
    by_name = {model.__name__.lower(): model for model in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    if config.architecture.lower() not in by_name:
        return None
    parameters = inspect.signature(by_name[config.architecture.lower()]).parameters.values()
    own = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD} | set(_OLD_NAMES)
    if not config.encoder.startswith(("tu-", "timm-")):
        return own
    encoder = _of_timm(config.encoder.partition("-")[2])
    if encoder is not None:
        return {*own, *encoder}
    # The encoder takes anything; but not what is nearly an option of the architecture.
    return {*own, *(key for key in config.options if not difflib.get_close_matches(key, own, cutoff=0.8))}


def _of_own(architecture: str) -> Collection[str] | None:
    by_name = {name.lower(): kind for name, kind in OWN.items()}
    known = _parameters(by_name[architecture.lower()]) if architecture.lower() in by_name else None
    return None if known is None else [key for key in known if key != "encoder"]


def _of_timm(name: str) -> Collection[str] | None:
    """The keywords of a timm model, if its class names them all."""
    if not timm.is_model(name.partition(".")[0]):
        return None
    kind = typing.get_type_hints(timm.model_entrypoint(name.partition(".")[0])).get("return")
    own = _parameters(kind) if isinstance(kind, type) else None
    return None if own is None else {*own, *_TIMM_BUILDERS, *inspect.signature(timm.create_model).parameters}


def _of_transformers(model_type: str) -> Collection[str] | None:
    from transformers import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        return None
    settings = CONFIG_MAPPING[model_type]
    return {*settings().to_dict(), *inspect.signature(settings).parameters}


def _parameters(build: Callable[..., Any]) -> Collection[str] | None:
    """The keywords of a function or class; None if it takes any."""
    parameters = inspect.signature(build).parameters.values()
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters) else [p.name for p in parameters]


def _fetching(options: Any) -> Iterator[str]:
    """The names of such keywords, at any depth, that are not off."""
    if isinstance(options, dict):
        for name, value in options.items():
            if (name in _FETCHING and value not in (None, False)) or (name == "backbone" and not _is_plain(value)):
                yield name
            yield from _fetching(value)
    elif isinstance(options, list):
        for value in options:
            yield from _fetching(value)


def _is_plain(backbone: Any) -> bool:
    """Whether it is the name of an architecture, and not of a folder or of somebody's repository."""
    return not isinstance(backbone, str) or re.fullmatch(r"[\w.-]+", backbone) is not None
