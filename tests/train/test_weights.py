"""Where the weights of networks come from, and what is no weights."""

from argparse import Namespace

import numpy as np
import pytest
import torch
from torch import nn

from segtool.data import named_classes
from segtool.errors import SegtoolError, SegtoolWarning
from segtool.input_contract import InputContract
from segtool.train.config.settings import ModelConfig
from segtool.train.networks import pretrained
from segtool.train.networks.network import build_network
from segtool.train.stages.start import start_from

from .building import build


@pytest.fixture
def offline(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(pretrained, "_reachable", lambda address: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder": "resnet18"},
        {"encoder": "tu-mobilenetv3_small_100"},
        {"source": "transformers", "architecture": "segformer", "weights": "nvidia/mit-b0"},
    ],
)
def test_offline_one_line_says_what_to_choose(offline, settings):
    if settings.get("source") == "transformers":
        pytest.importorskip("transformers")
    with pytest.raises(SegtoolError, match=r"cannot be had offline.*model\.weights=FILE.*model\.weights=null") as error:
        build_network(ModelConfig(**settings), 3)
    assert "\n" not in str(error.value)


def test_the_default_is_imagenet_but_for_networks_that_have_none():
    assert ModelConfig().weights == "imagenet"
    assert ModelConfig(source="segtool", architecture="UNet").weights is None
    with pytest.raises(SegtoolError, match="there are no imagenet weights"):
        build_network(ModelConfig(source="segtool", architecture="UNet", weights="imagenet"), 3)


def test_encoder_weights_from_a_file_of_torchvision(tmp_path):
    from torchvision.models import resnet18

    theirs = resnet18(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    ours = build(encoder="resnet18", weights=str(tmp_path / "resnet18.pth"))
    torch.testing.assert_close(ours.encoder.layer3[1].conv2.weight, theirs.layer3[1].conv2.weight)
    image = torch.rand(1, 3, 64, 64)
    features = nn.Sequential(*list(theirs.eval().children())[:-2])
    with torch.no_grad():
        torch.testing.assert_close(ours.encoder(image)[-1], features(image))


def test_encoder_weights_of_a_timm_model(tmp_path):
    import timm
    from safetensors.torch import save_file

    theirs = timm.create_model("mobilenetv3_small_050", pretrained=False)
    save_file(theirs.state_dict(), tmp_path / "timm.safetensors")
    encoder = build(encoder="tu-mobilenetv3_small_050", weights=str(tmp_path / "timm.safetensors")).encoder
    torch.testing.assert_close(encoder.model.conv_stem.weight, theirs.conv_stem.weight)


def test_imagenet_weights_that_are_really_there(shared):
    file = shared / "weights" / "mobilenet_v2_100_torchvision.pth"
    network = build(encoder="mobilenet_v2", weights=str(file))
    stored = torch.load(file, weights_only=True)
    torch.testing.assert_close(network.encoder.features[3].conv[1][0].weight, stored["features.3.conv.1.0.weight"])


SMALL = {"encoder": "tu-mobilenetv3_small_050"}


@pytest.fixture(scope="module")
def network():
    return build(**SMALL)


def same(network, path, **settings):
    again = build(**SMALL, weights=str(path), **settings)
    return all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    "prefix",
    [
        "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.module.", "model._orig_mod.", "net.",
        "ema.module.", "segmenter.network.", "network._orig_mod.module.",
    ],
)  # fmt: skip
def test_weights_saved_by_a_wrapper_lose_its_prefix(network, tmp_path, prefix):
    wrapped = {f"{prefix}{k}": v for k, v in network.state_dict().items()}
    torch.save({"state_dict": wrapped | {"criterion.weight": torch.zeros(5)}, "epoch": 3}, tmp_path / "wrapped.pth")
    assert same(network, tmp_path / "wrapped.pth")


def test_modules_that_were_compiled_one_by_one(network, tmp_path):
    torch.save({k.replace(".", "._orig_mod.", 1): v for k, v in network.state_dict().items()}, tmp_path / "c.pth")
    assert same(network, tmp_path / "c.pth")


@pytest.mark.parametrize("key", ["model", "net", "ema", "model_state", "model_state_dict", "params", "state_dict_ema"])
def test_weights_beside_the_state_of_a_trainer(network, tmp_path, key):
    """Arguments, scores and paths are data; nothing has to be executed for them."""
    beside = {"args": Namespace(lr=0.1, out=tmp_path), "best": np.float64(0.5), "optimizer": {"state": {}}}
    torch.save({key: network.state_dict(), **beside}, tmp_path / "run.pth")
    assert same(network, tmp_path / "run.pth")


def test_a_head_for_another_number_of_classes_is_replaced_and_said(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "five.pth")
    with pytest.warns(SegtoolWarning, match="the weights are for 5 classes, the data have 3; the head starts fresh"):
        three = build(3, **SMALL, weights=str(tmp_path / "five.pth"))
    for name, value in three.named_parameters():
        assert value.shape[0] == 3 or torch.equal(value, network.get_parameter(name)), name


def test_weights_that_do_not_fit(tmp_path):
    torch.save(build(encoder="resnet18").state_dict(), tmp_path / "w.pth")
    with pytest.raises(SegtoolError, match="fit neither the network nor its encoder"):
        build(encoder="resnet34", weights=str(tmp_path / "w.pth"))
    with pytest.raises(SegtoolError, match="no such file"):
        build(encoder="resnet18", weights=str(tmp_path / "none.pth"))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid 4d7a\nsize 12345\n",
            "a Git LFS pointer.*git lfs pull",
        ),
        (b"\n<!DOCTYPE html><html><head>", "a web page instead of the file"),
        (b"", "the file is empty"),
    ],
)
def test_what_lies_in_place_of_weights_is_told(tmp_path, content, said, suffix):
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    with pytest.raises(SegtoolError, match=said):
        build(**SMALL, weights=str(path))
    with pytest.raises(SegtoolError, match=said):
        start_from(path, ModelConfig(**SMALL), named_classes(["a", "b"]), InputContract())


class Unknown:
    pass


def test_objects_that_only_code_could_make_are_named(network, tmp_path):
    torch.save({"model": network.state_dict(), "config": Unknown()}, tmp_path / "w.pth")
    with pytest.raises(SegtoolError, match=r"holds more than tensors, .*Unknown, which only code") as caught:
        build(**SMALL, weights=str(tmp_path / "w.pth"))
    assert "\n" not in str(caught.value)


class Attack:
    def __reduce__(self):
        return print, ("executed",)


def test_nothing_in_a_weights_file_is_executed(tmp_path, capsys):
    torch.save({"state_dict": Attack()}, tmp_path / "evil.pth")
    with pytest.raises(SegtoolError, match="not readable as weights"):
        build(encoder="resnet18", weights=str(tmp_path / "evil.pth"))
    assert "executed" not in capsys.readouterr().out
