"""Networks of segmentation-models-pytorch behind the input contract."""

import pytest
import torch

from segtool.input_contract import InputContract
from segtool.train.config.settings import ModelConfig
from segtool.train.networks import Segmenter
from segtool.train.networks.network import build_network

ARCHITECTURES = ["Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "PAN"]
ARCHITECTURES += ["UPerNet", "Segformer"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_have_the_images_size_whatever_it_is(architecture):
    segmenter = Segmenter(
        build_network(ModelConfig(architecture=architecture, encoder="resnet18", weights=None), 4), InputContract()
    ).eval()
    with torch.inference_mode():
        logits, contextual, refined = segmenter(torch.rand(1, 3, 97, 131) * 255)
    assert logits.shape == (1, 4, 97, 131)
    assert contextual is refined is logits


def test_normalisation_and_padding_are_as_the_contract_says():
    """A network that passes its input through shows what it was given."""
    segmenter = Segmenter(torch.nn.Identity(), InputContract(stride=8))
    image = torch.rand(2, 3, 21, 30) * 255
    seen = []
    segmenter.network.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    got = segmenter.unary(image)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(got, (image / 255 - mean[:, None, None]) / std[:, None, None])
    assert seen[0].shape == (2, 3, 24, 32)
    assert not seen[0][:, :, 21:].any()
