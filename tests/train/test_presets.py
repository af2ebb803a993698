"""Each preset trains on a dataset in its real layout, and does what it is there for."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from segtool.data.statistics import class_weights, statistics
from segtool.train.callbacks.freezing import UnfreezeEncoder
from segtool.train.checkpoint import load_segmenter
from segtool.train.config.presets import load_config, preset_names
from segtool.train.losses import SegmentationLoss
from segtool.train.networks.network import build_network
from segtool.train.stages.piecewise import PiecewiseTrainer

from ..data.layouts import write_ade20k, write_cityscapes, write_folder, write_voc

SMALL = ["data.crop=[64, 64]", "data.batch_size=2", "crf.crop=[48, 48]", "crf.search_images=1"]
SMALL += [
    "crf.bilateral_alpha=[15.0]",
    "crf.bilateral_beta=[13.0]",
    "crf.weight=[[0.5, 1.0]]",
    "crf.spatial_gamma=[2.0]",
]
SMALL += ["crf.epochs=1", "joint.epochs=1"]


def train(preset, data, out, *overrides, stages=("unary",)):
    config = load_config(preset, [*SMALL, *overrides])
    trainer = PiecewiseTrainer(config, data, out, list(stages), report=lambda line: None)
    trainer.run()
    return trainer


def test_all_five_are_there():
    wanted = {"piecewise-crf", "voc-resnet-skip", "smp-hybrid", "cityscapes-deeplab", "ade20k-unet"}
    assert wanted <= set(preset_names())


@pytest.mark.parametrize("name", sorted(set(preset_names()) - {"quickstart", "camvid-small"}))
def test_network_can_be_built(name):
    config = load_config(name, ["model.weights=null"])
    network = build_network(config.model, 7).eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 64, 64)).shape == (1, 7, 64, 64)


@pytest.mark.slow
def test_piecewise_crf(tmp_path):
    """Dilated backbone; three stages one after the other; T = 5 while learning, 10 in the model; all the plots."""
    write_voc(tmp_path, scale=8)
    overrides = ["model.encoder=resnet18", "model.weights=null", "unary.epochs=1", "unary.accumulate=1"]
    run = train("piecewise-crf", f"voc:{tmp_path}", tmp_path / "run", *overrides, stages=("unary", "crf", "joint"))
    config = run.config
    assert (config.crf.iterations, config.crf.inference_iterations) == (5, 10)
    assert (config.unary.optimizer, config.unary.momentum, config.unary.weight_decay) == ("sgd", 0.9, 5e-4)
    assert (config.unary.schedule, config.loss.dice, config.loss.focal) == ("step", 0, 0)
    segmenter, card = load_segmenter(tmp_path / "run")
    dilated = [m.dilation for m in segmenter.network.encoder.modules() if isinstance(m, nn.Conv2d)]
    assert (2, 2) in dilated
    assert card.crf.iterations == 10
    assert list(run.state.done) == ["unary", "crf", "joint"]
    optimizer = torch.load(tmp_path / "run" / "unary" / "last.ckpt", weights_only=False)["optimizer_states"][0]
    assert "momentum_buffer" in optimizer["state"][0]
    evaluation = tmp_path / "run" / "evaluation"
    plots = {path.name for path in (evaluation / "plots").iterdir()}
    assert {"confusion.png", "IoU_by_class.png", "training.png"} <= plots
    classes = json.loads((evaluation / "summary.json").read_text())["after_crf"]
    assert {"miou", "pixel_accuracy", "confusion"} <= set(classes)


@pytest.mark.slow
def test_voc_resnet_skip(tmp_path):
    """ResNet encoder, skips, transposed convolutions; void never counts; best and periodic checkpoints; pictures."""
    write_voc(tmp_path, scale=8)
    overrides = ["model.encoder=resnet18", "model.weights=null", "unary.epochs=2", "unary.checkpoint_every=1"]
    run = train("voc-resnet-skip", f"voc:{tmp_path}", tmp_path / "run", *overrides, "snapshots.every=1")
    network = load_segmenter(tmp_path / "run")[0].network
    assert any(isinstance(m, nn.ConvTranspose2d) for m in network.decoder.modules())
    assert (run.config.unary.learning_rate, run.config.unary.weight_decay, run.config.data.scale) == (
        0.006, 1e-4, (0.9, 1.1),
    )  # fmt: skip
    for name in ("best.safetensors", "epoch-0001.safetensors", "epoch-0002.safetensors", "last.ckpt"):
        assert (tmp_path / "run" / "unary" / name).is_file()
    assert (tmp_path / "run" / "snapshots" / "unary_epoch_0002.png").is_file()
    assert "epoch 2/2" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize("preset", ["voc-resnet-skip", "smp-hybrid", "cityscapes-deeplab", "piecewise-crf"])
def test_void_never_contributes_to_the_loss(preset):
    config = load_config(preset, [])
    criterion = SegmentationLoss(config.loss, np.ones(3), 255)
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (2, 16, 16))
    labels[:, :8] = 255
    logits = torch.randn(2, 3, 16, 16, requires_grad=True)
    loss = criterion(logits, labels)
    loss.backward()
    assert not logits.grad[:, :, :8].any()
    assert logits.grad[:, :, 8:].any()
    changed = logits.detach().clone()
    changed[:, :, :8] += 100
    torch.testing.assert_close(criterion(changed, labels), loss.detach())


@pytest.mark.slow
def test_smp_hybrid(tmp_path, photo):
    """Any architecture; CE + Dice + focal; then the images that fail are explained."""
    write_folder(tmp_path / "data", photo, images=3)
    overrides = ["model={architecture: UnetPlusPlus, encoder: resnet18, weights: null}", "unary.epochs=1"]
    run = train("smp-hybrid", f"folder:{tmp_path / 'data'}", tmp_path / "run", *overrides, "report.failures=1.0")
    loss = run.config.loss
    assert (loss.cross_entropy, loss.dice, loss.focal) == (1, 1, 1)
    unary = run.config.unary
    assert (unary.optimizer, unary.schedule, unary.gradient_clip) == ("adamw", "cosine", 1.0)
    folder = tmp_path / "run" / "evaluation" / "failures"
    failures = pd.read_csv(folder / "failures.csv")
    assert len(failures) == 3
    assert failures["kind"].notna().all()
    assert len(list((folder / "errors").iterdir())) == 3


@pytest.mark.slow
def test_cityscapes_deeplab(tmp_path):
    """labelIds become the 19 classes; weights from the data; the encoder is frozen and then freed block by block."""
    write_cityscapes(tmp_path, scale=4)
    overrides = ["model.encoder=resnet18", "model.weights=null", "unary.epochs=2", "data.cache=ram"]
    run = train("cityscapes-deeplab", f"cityscapes-half:{tmp_path}", tmp_path / "run", *overrides)
    found = statistics(run.train_set)
    pixels = np.array([run.train_set.load(0).labels == c for c in range(19)]).sum((1, 2))
    np.testing.assert_allclose(found.frequency, pixels / pixels.sum())
    present = pixels > 0
    frequency = found.frequency_where_present
    by_hand = np.median(frequency[present]) / frequency[present]
    weights = class_weights("median", found)
    np.testing.assert_allclose(weights[present] / weights[present][0], by_hand / by_hand[0])
    assert run.config.loss.class_weights == "median"
    assert (run.config.loss.focal, run.config.loss.dice, run.config.loss.cross_entropy) == (1.0, 1.1, 0.0)
    assert run.config.precision == "bf16-mixed"
    assert run.config.unary.accumulate > 1
    network = load_segmenter(tmp_path / "run")[0].network
    callback = UnfreezeEncoder(network, load_config("cityscapes-deeplab", []).unary.freeze_encoder)
    frozen = [callback.frozen_blocks(epoch, 100) for epoch in range(100)]
    assert frozen[:5] == [len(callback.blocks)] * 5  # 5 % of the epochs
    assert frozen[5 : 5 + len(callback.blocks)] == list(range(len(callback.blocks)))[::-1]
    assert not any(frozen[5 + len(callback.blocks) :])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["Unet", "MAnet"])
def test_cityscapes_with_other_architectures(tmp_path, architecture):
    write_cityscapes(tmp_path, scale=4)
    model = f"model={{architecture: {architecture}, encoder: tu-mobilenetv3_small_050, weights: null}}"
    run = train("cityscapes-deeplab", f"cityscapes:{tmp_path}", tmp_path / "run", model, "unary.epochs=1")
    assert len(run.train_set.classes) == 19


@pytest.mark.slow
def test_ade20k_unet(tmp_path):
    """The plain U-Net; Adam 1e-3 falling on plateaus; automatic batches; pictures at epochs 0, 5, ... and a GIF."""
    write_ade20k(tmp_path, scale=8, images=2)
    overrides = ["model.options={width: 8}", "unary.epochs=6", "data.batch_size=auto", "precision=32-true"]
    run = train("ade20k-unet", f"ade20k:{tmp_path}", tmp_path / "run", *overrides)
    unary = run.config.unary
    assert (unary.optimizer, unary.learning_rate, unary.schedule) == ("adam", 1e-3, "plateau")
    preset = load_config("ade20k-unet", [])
    assert (preset.data.crop, preset.data.batch_size, preset.precision) == ((256, 256), "auto", "bf16-mixed")
    names = sorted(path.stem for path in (tmp_path / "run" / "snapshots").iterdir())
    assert names == [f"unary_epoch_{epoch:04d}" for epoch in (0, 5, 6)]
    assert (tmp_path / "run" / "progress.gif").is_file()
    assert (tmp_path / "run" / "curves.png").is_file()
    segmenter, card = load_segmenter(tmp_path / "run")
    assert type(segmenter.network).__name__ == "UNet"
    assert len(card.classes) == 150


def test_random_resize_of_the_voc_preset_stays_within_its_bounds():
    from segtool.train.augmentation import RandomScaledCrop

    config = load_config("voc-resnet-skip", []).data
    crop = RandomScaledCrop(config.crop, config.scale, {})
    torch.manual_seed(0)
    rows = [crop.draw(500, 500).rows for _ in range(300)]
    sizes = [r.stop - r.start for r in rows]
    assert (min(sizes), max(sizes)) == (pytest.approx(224 / 1.1, abs=2), pytest.approx(224 / 0.9, abs=2))
