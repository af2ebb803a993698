"""A network defined outside the package goes all the way: three stages, checkpoint, evaluation, export, parity."""

import numpy as np
import pytest
import torch

from segtool import user_code
from segtool.errors import SegtoolError
from segtool.train.checkpoint import load_segmenter
from segtool.train.checkpoint_file import read_card
from segtool.train.config.presets import load_config
from segtool.train.stages.piecewise import PiecewiseTrainer

from ..command_line import segtool
from ..conftest import TINY

CODE = '''
from torch import nn

class Net(nn.Module):
    """Logits at a quarter of the resolution, in a dict."""

    def __init__(self, classes, width):
        super().__init__()
        layers = []
        for a, b in ((3, width), (width, 2 * width)):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
        self.backbone = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(2 * width, classes, 1)

    def forward(self, x):
        return {"out": self.classifier(self.backbone(x)), "aux": x.mean()}

def build(classes, width=8):
    return Net(classes, width)
'''


@pytest.fixture(scope="module")
def own_run(tmp_path_factory):
    """A run of all stages with it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mynet.py").write_text(CODE)
    source = f"model={{source: 'python:{folder / 'mynet.py'}:build', options: {{width: 12}}, head_dropout: 0.1}}"
    settings = [setting for setting in TINY if not setting.startswith("model.")]
    config = load_config("quickstart", [*settings, source, "unary.epochs=6", "unary.validate_every=3"])
    trainer = PiecewiseTrainer(
        config, "synthetic:64", folder / "run", ["unary", "crf", "joint"], report=lambda line: None
    )
    trainer.run()
    return folder / "run"


def test_all_stages_train_it(own_run):
    segmenter, card = load_segmenter(own_run)
    assert card.architecture.endswith("mynet.py:build")
    assert card.validation.after_crf is not None
    assert segmenter.network.body.classifier.in_channels == 24
    assert card.validation.before_crf.miou > 0.3


def test_export_and_parity(own_run, tmp_path):
    from segtool.data import open_dataset
    from segtool.export.comparison import Case
    from segtool.export.onnx_export import export_onnx
    from segtool.export.verify import verify

    export_onnx(own_run, tmp_path / "own.onnx")
    val = open_dataset("synthetic:64", "val")
    records = verify(own_run, tmp_path / "own.onnx", (Case(*val.load(i)) for i in range(3)))
    assert records
    assert all(record.passed for record in records)


def test_a_checkpoint_does_not_run_code_unasked(own_run, monkeypatch):
    monkeypatch.setattr(user_code, "_allowed", set())
    with pytest.raises(SegtoolError, match="segtool --trust-code"):
        load_segmenter(own_run)
    monkeypatch.setenv(user_code.TRUST_VARIABLE, "1")
    load_segmenter(own_run)


def test_the_command_line_asks_too(own_run, tmp_path, monkeypatch):
    from PIL import Image

    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "a.png")
    command = ["predict", own_run, tmp_path / "a.png", "--out", tmp_path / "out"]
    monkeypatch.setattr(user_code, "_allowed", set())
    monkeypatch.delenv(user_code.TRUST_VARIABLE, raising=False)
    refused = segtool(*command, cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "built by code" in refused.stderr
    trusted = segtool("--trust-code", *command, cwd=tmp_path)
    assert trusted.returncode == 0, trusted.stderr


def test_its_encoder_can_be_frozen(own_run):
    from segtool.train.callbacks.freezing import UnfreezeEncoder

    segmenter, _ = load_segmenter(own_run)
    assert len(UnfreezeEncoder(segmenter.network, 0.5).blocks) == 4  # two convolutions, two batch norms


def test_card_keeps_how_it_was_built(own_run):
    model = read_card(own_run / "model.safetensors").config["model"]
    assert (model["options"], model["head_dropout"]) == ({"width": 12}, 0.1)


@pytest.mark.parametrize("stage", ["crf", "joint"])
def test_dropout_hook_is_not_in_the_way_of_gradients(own_run, stage):
    segmenter, _ = load_segmenter(own_run / stage / "best.safetensors")
    segmenter.train()
    segmenter(torch.rand(1, 3, 32, 32) * 255)[1].sum().backward()
    assert segmenter.network.body.classifier.weight.grad is not None
