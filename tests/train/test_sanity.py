"""Sanity mode says whether a network can learn one image by heart."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from segtool.cli import cli
from segtool.errors import SegtoolError
from segtool.train.config.presets import load_config
from segtool.train.stages.sanity import overfit_one_image

from ..data.layouts import write_voc


def settings(*more):
    return ["model.encoder=tu-mobilenetv3_small_050", "model.weights=null", "data.crop=[96, 96]", *more]


def test_a_sound_setting_learns_it(tmp_path):
    write_voc(tmp_path, scale=8)
    config = load_config("quickstart", settings())
    said = []
    found = overfit_one_image(config, f"voc:{tmp_path}", tmp_path / "sanity.png", said.append)
    assert found.passed
    assert found.last_loss < 0.3 * found.first_loss
    assert said[-1].endswith(f"{found.miou:.4f}")
    image, truth, predicted = np.array_split(np.array(Image.open(tmp_path / "sanity.png"), float), 3, axis=1)
    labelled = truth.any(2)
    expected = 0.25 * image + 0.75 * truth  # the labels lie over the image
    assert (np.abs(expected - predicted) <= 1).all(2)[labelled].mean() > 0.9
    assert image.shape == (96, 96, 3)


def test_several_processes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SegtoolError, match="--sanity trains in one process: torchrun"):
        overfit_one_image(load_config("quickstart", settings()), "synthetic:48", tmp_path / "s.png", lambda line: None)


def test_it_trains_in_the_precision_of_the_run(tmp_path):
    write_voc(tmp_path, scale=8)
    loss = {}
    for precision in ("32-true", "bf16-mixed"):
        config = load_config("quickstart", settings(f"precision={precision}"))
        found = overfit_one_image(config, f"voc:{tmp_path}", tmp_path / "s.png", lambda line: None, steps=1)
        loss[precision] = found.first_loss
    assert loss["bf16-mixed"] != loss["32-true"]
    assert loss["bf16-mixed"] == pytest.approx(loss["32-true"], rel=0.02)


@pytest.mark.parametrize("rate", ["1e-9", "1e4"])
def test_a_bad_rate_is_found_out(tmp_path, rate):
    write_voc(tmp_path, scale=8)
    config = load_config("quickstart", settings(f"unary.learning_rate={rate}"))
    found = overfit_one_image(config, f"voc:{tmp_path}", tmp_path / "s.png", lambda line: None, steps=30)
    assert not found.passed
    assert found.steps == 30


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.options={in_channels: 4}", "in_channels is no option"),
        ("model={architecture: DeepLabV3Plus, encoder: resnet18, weights: null}", "batches of one: data.batch_size"),
    ],
)
def test_what_training_would_refuse_is_refused(tmp_path, setting, message):
    write_voc(tmp_path, scale=8)
    config = load_config("quickstart", settings(setting, "data.batch_size=1"))
    with pytest.raises(SegtoolError, match=message):
        overfit_one_image(config, f"voc:{tmp_path}", tmp_path / "s.png", lambda line: None)


@pytest.mark.slow
def test_command(tmp_path):
    """It needs no run folder of its own, says so in words, and exits with 1 when it failed."""
    write_voc(tmp_path, scale=8)
    command = ["train", "--preset", "quickstart", "--data", f"voc:{tmp_path}", "--out", str(tmp_path / "out")]
    overrides = [x for s in settings("unary.learning_rate=1e-9", "data.crop=[32, 32]") for x in ("--set", s)]
    result = CliRunner().invoke(cli, [*command, *overrides, "--sanity"])
    assert result.exit_code == 1
    assert "did NOT learn" in result.output
    assert (tmp_path / "out" / "sanity.png").is_file()
    assert not (tmp_path / "out" / "state.json").exists()
