"""A model card is data: no option in it makes a library fetch or read anything."""

import json
import socket
import sys

import pytest
import torch
from safetensors.torch import save_file

from segtool.card import METADATA_KEY
from segtool.errors import SegtoolError
from segtool.train.checkpoint import load_segmenter
from segtool.train.config.settings import ModelConfig
from segtool.train.networks.options import check_options
from segtool.train.networks.stored import build_stored

SMP = {"source": "smp", "architecture": "Unet", "encoder": "tu-mobilenetv3_small_050", "weights": None}
SEGFORMER = {"source": "transformers", "architecture": "segformer", "weights": None}
UPERNET = {"source": "transformers", "architecture": "upernet", "weights": None}
STAGES = ["stem", "stage2", "stage3", "stage4"]
HOSTILE = {
    "weights": (SMP, {"encoder_weights": "imagenet"}),
    "weights are wanted": (SMP, {"encoder_weights": True}),
    "a URL": (SMP, {"pretrained_cfg_overlay": {"url": "http://127.0.0.1:9/x"}}),
    "a configuration": (SMP, {"pretrained_cfg": {"url": "http://127.0.0.1:9/x"}, "pretrained": True}),
    "a file": (SMP, {"checkpoint_path": "/etc/passwd"}),
    "unknown": (SMP, {"decoder_chanels": 3}),
    "backbone of timm": (UPERNET, {"use_timm_backbone": True, "backbone": "resnet18", "use_pretrained_backbone": True}),
    "repository": (UPERNET, {"backbone": "somebody/model", "backbone_config": None}),
    "folder": (UPERNET, {"backbone": "local-dir:/etc", "use_timm_backbone": True, "backbone_config": None}),
    "deep": (UPERNET, {"backbone_kwargs": {"a": [{"checkpoint_path": "/etc/passwd"}]}}),
    "code": (SEGFORMER, {"auto_map": {"AutoModel": "x--y.Z"}}),
    "weights of torchvision": (
        {"source": "torchvision", "architecture": "fcn_resnet50", "weights": None},
        {"weights_backbone": "DEFAULT"},
    ),
    "encoder in a repository": (SMP | {"encoder": "tu-hf-hub:somebody/model"}, {}),
    "encoder in a folder": (SMP | {"encoder": "tu-local-dir:/etc"}, {}),
    "repository of transformers": (SEGFORMER | {"architecture": "somebody/model"}, {}),
}

_watched: list[str] | None = None


def _watch(event, arguments):
    if _watched is None:
        return
    if event in ("socket.connect", "socket.getaddrinfo"):
        _watched.append(f"{event} {arguments[1:]}")
    if event == "open" and str(arguments[0]).startswith("/etc/passwd"):
        _watched.append(f"open {arguments[0]}")


sys.addaudithook(_watch)  # nothing removes a hook again; this one is asleep outside these tests


@pytest.fixture
def watched():
    """What is asked of the network, and which of the files that the cards name are opened."""
    global _watched
    _watched = []
    yield _watched
    _watched = None


@pytest.mark.parametrize(("model", "options"), HOSTILE.values(), ids=HOSTILE.keys())
def test_it_is_refused_and_nothing_is_asked_for(tmp_path, watched, model, options):
    with pytest.raises(SegtoolError):
        build_stored(ModelConfig(**model, options=options), 5, 3, tmp_path / "m.safetensors")
    assert watched == []


def test_the_watch_is_awake(watched):
    with pytest.raises(OSError, match="refused"), socket.socket() as found:
        found.connect(("127.0.0.1", 9))
    open("/etc/passwd").close()
    assert len(watched) == 2


def test_the_file_is_named(tiny_run, tmp_path, watched):
    """By `load_segmenter`, with which every command opens a checkpoint."""
    from segtool.train.checkpoint_file import read_card

    card = read_card(tiny_run / "model.safetensors").model_dump(mode="json")
    card["config"]["model"]["options"] = {"pretrained_cfg_overlay": {"url": "http://127.0.0.1:9/x"}}
    evil = tmp_path / "evil.safetensors"
    save_file({"a": torch.zeros(1)}, evil, metadata={METADATA_KEY: json.dumps(card)})
    with pytest.raises(SegtoolError, match=r"pretrained_cfg_overlay would have a library fetch .*evil"):
        load_segmenter(evil)
    assert watched == []


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (SMP, {"decoder_channels": [32, 16, 8, 8, 8]}),
        (
            UPERNET,
            {
                "backbone_config": {
                    "model_type": "resnet",
                    "depths": [1, 1, 1, 1],
                    "out_features": ["stem", "stage2", "stage3", "stage4"],
                }
            },
        ),
    ],
)
def test_what_a_card_may_say(tmp_path, watched, model, options):
    build_stored(ModelConfig(**model, options=options), 5, 3, tmp_path)
    assert watched == []


def test_own_code_has_its_own_options(tmp_path, monkeypatch):
    """Its words mean what its author says, and whoever trusts it lets it do as it likes."""
    code = tmp_path / "own.py"
    code.write_text("import torch\ndef net(classes, pretrained=False):\n    return torch.nn.Conv2d(3, classes, 1)\n")
    config = ModelConfig(source=f"python:{code}:net", options={"pretrained": True})
    with pytest.raises(SegtoolError, match="segtool --trust-code"):
        build_stored(config, 5, 3, tmp_path)
    monkeypatch.setenv("SEGTOOL_TRUST_CODE", "1")
    assert build_stored(config, 5, 3, tmp_path)(torch.zeros(1, 3, 4, 4)).shape == (1, 5, 4, 4)


@pytest.mark.parametrize("case", ["a URL", "a file", "repository", "weights"])
def test_training_refuses_what_could_not_be_opened_afterwards(case):
    model, options = HOSTILE[case]
    with pytest.raises(SegtoolError, match=r"model\.options"):
        check_options(ModelConfig(**model, options=options))
