"""Building the network that a model card describes. A card is data from anywhere: it reaches no network and no file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from torch import nn

from segtool.errors import SegtoolError
from segtool.train.config.settings import ModelConfig
from segtool.train.networks.network import build_network
from segtool.train.networks.options import check_fetching, check_options

_building = Lock()


def build_stored(config: ModelConfig, classes: int, channels: int, where: Path) -> nn.Module:
    """The network of a card, without weights.

    Code of the user's own that may be run does as it likes.

    Raises:
        SegtoolError: an option with which a library would fetch or read something, or that it does not know; or see
            `build_network`.
    """
    if config.source.startswith("python:"):
        return build_network(config, classes, channels)
    try:
        # A configuration of transformers is stored whole, and what this version does not know of it is inert.
        (check_fetching if config.source == "transformers" else check_options)(config)
        with _offline():
            return build_network(config, classes, channels)
    except SegtoolError as error:
        raise error.about(where) from error.__cause__
    except Exception as error:  # libraries stumble over odd options with whatever error
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        raise SegtoolError(f"the network in the model card cannot be built ({reason})", where=where) from error


@contextmanager
def _offline() -> Iterator[None]:
    """The hub is off, for the whole process; one network is built at a time, so that it is as before in the end."""
    from huggingface_hub import constants

    with _building:
        before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before
