"""Networks for any number of channels, and what a segmenter makes of numbers."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from segtool import bands
from segtool.errors import SegtoolError
from segtool.input_contract import InputContract
from segtool.train.config.settings import ModelConfig
from segtool.train.networks import Segmenter
from segtool.train.networks.channels import spread
from segtool.train.networks.network import build_network
from segtool.user_code import allow_code

SOURCES = {
    "smp": {"architecture": "Unet", "encoder": "resnet18"},
    "timm": {"architecture": "FPN", "encoder": "tu-mobilenetv3_small_050"},
    "UNet": {"source": "segtool", "architecture": "UNet", "options": {"width": 4}},
    "FeatMapNet": {"source": "segtool", "architecture": "FeatMapNet", "encoder": "resnet18"},
    "torchvision": {"source": "torchvision", "architecture": "lraspp_mobilenet_v3_large"},
    "segformer": {
        "source": "transformers",
        "architecture": "segformer",
        "options": {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "decoder_hidden_size": 16},
    },
}


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("name", SOURCES)
def test_every_source_builds_networks_for_other_images(name, channels):
    network = build_network(ModelConfig(**{"weights": None, **SOURCES[name]}), 4, channels).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, channels, 64, 96)).shape == (1, 4, 64, 96)


def test_a_network_of_ones_own_is_told(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef build(classes, in_channels=3): return nn.Conv2d(in_channels, classes, 1)\n"
        "def pictures(classes): return nn.Conv2d(3, classes, 1)\n"
    )
    source = f"python:{tmp_path / 'mine.py'}:build"
    for name in ("build", "pictures"):
        allow_code(source.replace("build", name))
    assert build_network(ModelConfig(source=source), 4, 7)(torch.zeros(1, 7, 8, 8)).shape == (1, 4, 8, 8)
    with pytest.raises(SegtoolError, match="in_channels"):
        build_network(ModelConfig(source=source.replace("build", "pictures")), 4, 7)


def test_weights_for_pictures_are_spread(tmp_path):
    """Of an image whose bands are equal the first layer sees what it saw of the grey picture."""
    settings = {"architecture": "Unet", "encoder": "resnet18"}
    pictures = build_network(ModelConfig(weights=None, **settings), 4)
    save_file(pictures.encoder.state_dict(), tmp_path / "encoder.safetensors")
    network = build_network(ModelConfig(weights=str(tmp_path / "encoder.safetensors"), **settings), 4, 6)
    grey = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        expected = pictures.encoder.conv1(grey.expand(1, 3, -1, -1))
        assert torch.allclose(network.encoder.conv1(grey.expand(1, 6, -1, -1)), expected, atol=1e-5)
    assert torch.equal(network.encoder.layer1[0].conv1.weight, pictures.encoder.layer1[0].conv1.weight)
    one = spread(pictures.encoder.conv1.weight, 1)
    assert torch.allclose(one, pictures.encoder.conv1.weight.sum(1, keepdim=True))


def numbers(kind, **more):
    """Noise with outliers and a corner without data, and its contract."""
    image = np.random.default_rng(0).integers(100, 4000, (20, 24, 3)).astype(kind)
    image[0, :5] = np.nan if kind == "float32" else 0
    image[3, 3], image[4, 4, 1] = 60000, 60000
    about = {"low": (200.0, 300.0, 250.0), "high": (3000.0, 3500.0, 3200.0), "mean": (1500.0, 1600.0, 1700.0)}
    return image, InputContract(
        bands=(1, 2, 3), kind=kind, std=(700.0, 800.0, 900.0), guide=(3, 1, 2), shown=(3, 2, 1), **about, **more
    )


@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_the_network_sees_no_outliers_and_the_mean_where_there_are_no_data(kind):
    image, contract = numbers(kind, **({"nodata": 0} if kind == "uint16" else {}))
    seen = []

    class Network(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return x

    segmenter = Segmenter(Network(), contract)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    segmenter.unary(tensor)
    low, high, mean, std = (np.array(getattr(contract, name)) for name in ("low", "high", "mean", "std"))
    wanted = (np.clip(image.astype(float), 2 * low - high, 2 * high - low) - mean) / std
    wanted[0, :5] = 0
    found = seen[0][0, :, :20, :24].permute(1, 2, 0).numpy()
    assert np.allclose(found, wanted, atol=1e-5)
    assert np.allclose(segmenter.guide(tensor)[0].permute(1, 2, 0)[1:], bands.guide(image, contract)[1:], atol=1e-3)


def test_contracts_that_say_nothing():
    for wrong, said in (
        ({"bands": (1, 2)}, "mean must have 2 numbers"),
        ({"kind": "uint16"}, "pictures are RGB of 8 bits"),
        ({"low": (0.0, 0.0, 300.0)}, "low must be below high"),
        ({"bands": tuple(range(1, 34))}, "bands must be 1 to 32"),
        ({"shown": (1, 2, 4), "bands": (1, 2, 3)}, "shown and guide are channels, 1 to 3"),
    ):
        with pytest.raises(ValueError, match=said):
            InputContract(**wrong)
