"""Building the network that a model card describes. A card is data from anywhere: it reaches no network and no file."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from segtool.errors import SegtoolError
from segtool.train.config.settings import ModelConfig
from segtool.train.networks.network import build_network
from segtool.train.networks.options import check_options

# Keywords by which timm, torchvision, transformers and segmentation-models-pytorch fetch something or read a file.
_FETCHING = frozenset(
    {
        "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_backbone", "use_pretrained_backbone",
        "weights", "weights_backbone", "encoder_weights", "checkpoint_path", "cache_dir", "state_dict",
        "url", "file", "hf_hub_id", "hf_hub_filename", "custom_load", "auto_map", "code_revision", "trust_remote_code",
    }
)  # fmt: skip


def build_stored(config: ModelConfig, classes: int, where: Path) -> nn.Module:
    """The network of a card, without weights.

    Raises:
        SegtoolError: an option with which a library would fetch or read something, or that it does not know; or see
            `build_network`.
    """
    for name in _fetching(config.options):
        what = f"the model card would have something fetched or read, by the option {name}"
        raise SegtoolError(what, where=where, mend="do not use the file: segtool writes no such option")
    try:
        if config.source != "transformers":  # its options are a whole configuration, and what it does not know is inert
            check_options(config)
        with _offline():
            return build_network(config, classes)
    except SegtoolError:
        raise
    except Exception as error:  # libraries stumble over odd options with whatever error
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        raise SegtoolError(f"the network in the model card cannot be built ({reason})", where=where) from error


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


@contextmanager
def _offline() -> Iterator[None]:
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
