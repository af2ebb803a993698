"""What of a network the contextual CRF reads."""

import pytest
import torch
from torch import nn

from segtool.data import open_dataset
from segtool.errors import SegtoolError
from segtool.input_contract import InputContract
from segtool.train.config.presets import load_config
from segtool.train.config.settings import ModelConfig
from segtool.train.networks import Segmenter
from segtool.train.networks.adapted import Adapted
from segtool.train.networks.features import feature_size, last_layer, with_features
from segtool.train.networks.network import build_network
from segtool.train.stages.context_maps import ContextMaps, new_context


class Colours(nn.Module):
    """A network without a head that anybody would know."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 1)

    def forward(self, x):
        return self.layer(x)


def test_without_a_known_head_the_logits_are_the_features():
    images = open_dataset("synthetic:64", "train")
    segmenter = Segmenter(Colours(), InputContract(stride=8))
    card = new_context(segmenter, images, load_config("quickstart", []).context).card
    assert (card.reads_logits, card.features, card.feature_stride) == (True, 5, 1)
    features, labels = ContextMaps(images, segmenter)[0]
    height, width = labels.shape
    assert features.shape == (5, -(-height // 8), -(-width // 8))


@pytest.mark.parametrize(
    ("model", "channels", "stride"),
    [
        ({"architecture": "FPN", "encoder": "resnet18"}, 128, 4),
        ({"architecture": "DeepLabV3", "encoder": "resnet18"}, 256, 8),
        ({"source": "segtool", "architecture": "UNet", "options": {"width": 8}}, 8, 1),
        ({"source": "segtool", "architecture": "FeatMapNet", "encoder": "resnet18"}, 512, 8),
        ({"source": "torchvision", "architecture": "deeplabv3_mobilenet_v3_large"}, 256, 16),
    ],
)
def test_features_are_what_the_last_layer_reads(model, channels, stride):
    network = build_network(ModelConfig(weights=None, **model), 6).eval()
    layer = last_layer(network, 6)
    assert feature_size(network, layer, 32) == (channels, stride)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        logits, features = with_features(network, layer, image)
        assert torch.equal(logits, network(image))
        made = layer(features)
    # What lies between is resizing, which leaves the mean nearly as it is.
    assert made.shape[1] == 6
    assert abs(float(made.mean() - logits.mean())) < 0.1 * float(made.std())


def test_a_coarse_map_finer_than_the_features_is_refused():
    segmenter = Segmenter(
        build_network(ModelConfig(weights=None, source="torchvision", architecture="deeplabv3_mobilenet_v3_large"), 5),
        InputContract(),
    )
    with pytest.raises(SegtoolError, match="stride of 8 pixels is no multiple of the features', 16"):
        new_context(segmenter, open_dataset("synthetic:64", "train"), load_config("quickstart", []).context)


@pytest.mark.parametrize("size", [(128, 160), (96, 64), (64, 64)])
def test_a_network_of_one_input_size_has_no_features_with_places(size):
    """Whatever the image, its maps have one size."""
    inner = build_network(ModelConfig(weights=None, encoder="resnet18"), 6)
    network = Adapted(inner, size).eval()
    assert feature_size(network, last_layer(network, 6), 32) is None


class Unused(nn.Module):
    """Has a head that it does not use."""

    def __init__(self):
        super().__init__()
        self.layer, self.classifier = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 5, 1)

    def forward(self, x):
        return self.layer(x)


def test_a_head_that_is_not_used_is_none():
    network = Unused()
    assert feature_size(network, last_layer(network, 5), 8) is None
