"""Settings that a network cannot be trained with are refused before the run folder is made."""

import numpy as np
import pytest
from PIL import Image

from segtool.errors import SegtoolError
from segtool.train.config.presets import load_config, preset_names
from segtool.train.config.settings import ModelConfig
from segtool.train.networks.options import check_options
from segtool.train.stages.first_step import check_share
from segtool.train.stages.piecewise import PiecewiseTrainer

from ..conftest import TINY
from ..data.layouts import write_folder

DEEPLAB = "model={architecture: DeepLabV3Plus, encoder: resnet18, weights: null}"
TORCHVISION = "model={source: torchvision, architecture: deeplabv3_mobilenet_v3_large, weights: null}"


@pytest.fixture
def root(tmp_path, photo):
    """Where a folder dataset of two classes and two training images lies."""
    write_folder(tmp_path, photo)
    return tmp_path


def start(root, *overrides):
    config = load_config("quickstart", [*TINY, *overrides])
    said = []
    PiecewiseTrainer(config, f"folder:{root}", root / "run", ["unary"], report=said.append).prepare()
    return said


def refused(root, match, *overrides):
    with pytest.raises(SegtoolError, match=match) as caught:
        start(root, *overrides)
    assert "\n" not in str(caught.value)
    assert not (root / "run").exists()


@pytest.mark.parametrize("model", [DEEPLAB, TORCHVISION], ids=["smp", "torchvision"])
def test_batch_norm_on_a_batch_of_one(root, model):
    match = "batch norm cannot learn from batches of one: data.batch_size .--set data.batch_size=2"
    refused(root, match, model, "data.batch_size=1")


def test_what_a_batch_of_one_does_not_hinder(root):
    start(root, DEEPLAB, "data.batch_size=2")
    (root / "run").rename(root / "first")
    start(root, "data.batch_size=1")  # no global pooling


def test_batch_norm_on_a_single_image(root):
    for part in ("images", "masks"):
        (root / "train" / part / "1.png").unlink()
    refused(root, "batches of one: .*add training images", DEEPLAB)


def test_a_network_for_other_inputs_or_classes(root):
    code = "from torch import nn\ndef build(classes, a=3, b=0):\n    return nn.Conv2d(a, b or classes, 1)\n"
    (root / "net.py").write_text(code)
    for options, match in (
        ("a: 4", "the network fails on a training crop, RuntimeError"),
        ("b: 9", "logits for 9 classes, the data have 2"),
        ("c: 9", "unknown key of model.options: c "),
    ):
        refused(root, match, f"model={{source: 'python:{root / 'net.py'}:build', options: {{{options}}}}}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"options": {"in_channels": 4}}, "in_channels is no option: model.options .*data.bands says how many"),
        ({"options": {"classes": 9}}, "classes is no option: .*the data say how many"),
        ({"options": {"encoder_name": "resnet18"}}, "--set model.encoder"),
        ({"options": {"activation": "softmax"}}, "networks give logits"),
        ({"options": {"decoder_chanels": 1}, "architecture": "Unet"}, "did you mean decoder_channels"),
        (
            {"options": {"decoder_chanels": 1}, "architecture": "Unet", "encoder": "resnet18"},
            "did you mean decoder_channels",
        ),
        ({"options": {"bananas": 1}, "encoder": "resnet18"}, "unknown key of model.options: bananas .known: "),
        ({"options": {"aux_los": 1}, "source": "torchvision", "architecture": "fcn_resnet50"}, "did you mean aux_loss"),
        ({"options": {"num_classes": 1}, "source": "torchvision"}, "num_classes is no option"),
        ({"options": {"widht": 8}, "source": "segtool", "architecture": "UNet"}, "did you mean width"),
    ],
)
def test_options_that_nothing_reads(settings, message):
    with pytest.raises(SegtoolError, match=message):
        check_options(ModelConfig(**{"weights": None, **settings}))


def test_options_of_transformers():
    pytest.importorskip("transformers")
    settings = {"source": "transformers", "architecture": "segformer", "weights": None}
    with pytest.raises(SegtoolError, match="did you mean hidden_sizes"):
        check_options(ModelConfig(**settings, options={"hidden_size": [8]}))
    check_options(ModelConfig(**settings, options={"hidden_sizes": [8], "num_channels": 3, "output_attentions": True}))


@pytest.mark.parametrize(
    "settings",
    [
        {"options": {"in_channels": 3, "decoder_merge_policy": "cat"}},
        {"options": {"dynamic_img_size": True}, "architecture": "DPT", "encoder": "tu-vit_base_patch16_224"},
        {"options": {"decoder_use_batchnorm": True}, "architecture": "Unet", "encoder": "resnet18"},
        {"options": {"drop_path_rate": 0.1}, "encoder": "tu-efficientnet_b0"},
    ],
)
def test_options_that_are_read(settings):
    check_options(ModelConfig(weights=None, **settings))


def test_more_processes_than_images():
    check_share(2, 2)
    with pytest.raises(SegtoolError, match="1 training images for 2 processes: data .start at most 1 process"):
        check_share(1, 2)


def test_a_warning_before_training_names_what_looks_wrong(root, photo):
    Image.fromarray(np.zeros_like(photo)).save(root / "train/images/0.png")
    assert "warning: a black image, no level above 0: 0" in " ".join(start(root))


@pytest.mark.parametrize("preset", preset_names())
def test_options_of_every_preset_are_read(preset):
    check_options(load_config(preset, []).model)
