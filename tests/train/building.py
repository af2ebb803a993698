"""Networks as a configuration describes them."""

from segtool.train.config.settings import ModelConfig
from segtool.train.networks.network import build_network


def build(classes=5, **settings):
    """In evaluation mode, with random weights unless `weights` says otherwise."""
    return build_network(ModelConfig(**{"weights": None, **settings}), classes).eval()
