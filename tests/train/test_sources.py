"""Networks from other libraries and from the user."""

import pytest
import torch
from torch import nn

from segtool.errors import SegtoolError
from segtool.train.config.settings import ModelConfig
from segtool.train.networks.adapted import query_logits
from segtool.train.networks.network import build_network
from segtool.train.networks.sources import resolved
from segtool.user_code import allow_code

from .building import build

SEGFORMER = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 16], "decoder_hidden_size": 16}
SEGFORMER |= {"num_attention_heads": [1, 1, 2, 2]}
EOMT = {"image_size": 64, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "num_blocks": 1}
EOMT |= {"patch_size": 8, "num_queries": 10}


@pytest.mark.parametrize(
    "settings",
    [
        {"source": "segtool", "architecture": "UNet", "options": {"width": 8}},
        {"source": "torchvision", "architecture": "lraspp_mobilenet_v3_large"},
        {"source": "transformers", "architecture": "segformer", "options": SEGFORMER},
        {"source": "transformers", "architecture": "eomt", "options": EOMT, "input_size": (64, 64)},
    ],
    ids=["plain U-Net", "torchvision", "SegFormer", "EoMT"],
)
def test_logits_have_the_image_s_size(settings):
    if settings["source"] == "transformers":
        pytest.importorskip("transformers")
    with torch.inference_mode():
        assert build(**settings)(torch.rand(2, 3, 64, 96)).shape == (2, 5, 64, 96)


def test_plain_unet_has_the_channels_of_its_description():
    """64-128-256-512-1024/2: the weights of 3x3 convolutions and batch norms, counted by hand."""

    def double(a, b, between=None):
        between = between or b
        return 9 * a * between + 9 * between * b + 2 * between + 2 * b

    down = double(3, 64) + double(64, 128) + double(128, 256) + double(256, 512) + double(512, 512)
    up = double(1024, 256, 512) + double(512, 128, 256) + double(256, 64, 128) + double(128, 64, 64)
    network = build(classes=150, source="segtool", architecture="UNet")
    assert sum(p.numel() for p in network.parameters()) == down + up + 64 * 150 + 150


def test_mask_queries_become_log_probabilities():
    """As transformers' own post-processing, but before its argmax."""
    image_processing = pytest.importorskip("transformers").MaskFormerImageProcessor()
    torch.manual_seed(0)
    classes, masks = torch.randn(2, 7, 4), torch.randn(2, 7, 12, 16)
    output = type("Output", (), {"class_queries_logits": classes, "masks_queries_logits": masks})()
    theirs = image_processing.post_process_semantic_segmentation(output, target_sizes=[(12, 16)] * 2)
    logits = query_logits(classes, masks)
    # They resize masks to 384x384 first; where two classes are equally likely that decides.
    assert (logits.argmax(1) == torch.stack(theirs)).float().mean() > 0.97
    expected = torch.einsum("qc,qhw->chw", classes[0].softmax(-1)[:, :3], masks[0].sigmoid())
    torch.testing.assert_close(logits[0].exp(), expected)


def test_transformers_options_are_enough_to_build_it_again():
    pytest.importorskip("transformers")
    config = ModelConfig(source="transformers", architecture="segformer", weights=None, options=SEGFORMER)
    network = build_network(config, 5)
    again = build_network(resolved(config, network), 5)
    again.load_state_dict(network.state_dict())


def test_head_dropout_drops_whole_channels_in_training_only():
    network = build(encoder="resnet18", head_dropout=0.5)
    seen = []
    network.segmentation_head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    image = torch.rand(1, 3, 64, 64)
    plain = build(encoder="resnet18")
    plain.load_state_dict(network.state_dict())  # the names of the weights have not changed
    with torch.no_grad():
        torch.testing.assert_close(network(image), plain(image))
        assert not (seen[-1].flatten(2) == 0).all(2).any()
        network.segmentation_head.train()
        network(image)
    dropped = (seen[-1].flatten(2) == 0).all(2).float().mean()
    assert 0.3 < dropped < 0.7


def test_head_dropout_needs_a_head(tmp_path):
    (tmp_path / "net.py").write_text("from torch import nn\ndef build(classes):\n    return nn.Conv2d(3, classes, 1)\n")
    source = f"python:{tmp_path / 'net.py'}:build"
    allow_code(source)
    with pytest.raises(SegtoolError, match=r"model\.head_dropout \(set it to 0\)"):
        build(source=source, head_dropout=0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "smb"}, "did you mean smp"),
        ({"source": "torchvision", "architecture": "deeplabv3_resnet51"}, "did you mean deeplabv3_resnet5?"),
        ({"source": "segtool", "architecture": "UNett"}, "did you mean UNet"),
        ({"source": "segtool", "architecture": "UNet", "options": {"bananas": 1}}, "bananas"),
        ({"source": "python:no_such_module_here:build"}, "cannot be imported"),
        ({"source": "python:math"}, "not python:MODULE:FACTORY"),
        ({"source": "python:math:bananas"}, "has no function bananas"),
        ({"source": "python:collections:OrderedDict", "options": {}}, "not a torch.nn.Module"),
    ],
)
def test_a_bad_source_is_one_line(settings, message):
    allow_code(settings["source"])
    with pytest.raises(SegtoolError, match=message):
        build(**settings)


class Odd(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x):
        return self.output


@pytest.mark.parametrize("output", [{"masks": torch.zeros(1)}, torch.zeros(3), [torch.zeros(1, 2, 3, 4)]])
def test_a_network_without_logits_says_what_it_gives(output):
    from segtool.train.networks.adapted import Adapted

    with pytest.raises(SegtoolError, match=r"it must give logits \[N,C,h,w\]"):
        Adapted(Odd(output))(torch.rand(1, 3, 32, 32))
