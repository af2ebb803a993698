"""Optimizers, schedules, accumulation, frozen encoders: what each does to weights and rates."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from segtool.errors import SegtoolError
from segtool.input_contract import InputContract
from segtool.train.callbacks.freezing import UnfreezeEncoder, encoder_blocks
from segtool.train.config.presets import load_config
from segtool.train.config.settings import ModelConfig, StageConfig
from segtool.train.config.stages import STAGES
from segtool.train.losses import SegmentationLoss
from segtool.train.module import StageModule
from segtool.train.networks import Segmenter
from segtool.train.networks.network import build_network
from segtool.train.optimizers import (
    build_optimizer,
    build_schedule,
    moving_average,
    network_groups,
    validation_rhythm,
)
from segtool.train.stages.piecewise import PiecewiseTrainer


def stage(**settings):
    return StageConfig(**{"epochs": 10, "learning_rate": 0.1, **settings})


def rates(config, steps=100):
    """The rate before each step."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer(config, [{"params": [parameter], "lr": config.learning_rate}])
    schedule = build_schedule(config, optimizer, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        parameter.grad = torch.zeros(1)
        optimizer.step()
        if schedule is not None:
            schedule["scheduler"].step()
    return found


def test_constant_rate():
    assert set(rates(stage(schedule="constant"))) == {0.1}


def test_step_decay_falls_at_the_epochs_named():
    found = rates(stage(schedule="step", step_every=4, step_factor=0.5))
    assert found[:40] == pytest.approx([0.1] * 40)
    assert found[40:80] == pytest.approx([0.05] * 40)
    assert found[80:] == pytest.approx([0.025] * 20)


def test_cosine_and_poly_as_their_equations():
    cosine, poly = rates(stage(schedule="cosine")), rates(stage(schedule="poly"))
    for i in (0, 13, 50, 99):
        assert cosine[i] == pytest.approx(0.05 * (1 + torch.cos(torch.tensor(torch.pi * i / 100)).item()), rel=1e-4)
        assert poly[i] == pytest.approx(0.1 * (1 - i / 100) ** 0.9, rel=1e-4)


def test_one_cycle_rises_for_the_warm_up():
    found = rates(stage(schedule="one-cycle", warmup=0.3))
    assert max(found) == pytest.approx(0.1, rel=1e-3)
    assert 28 <= found.index(max(found)) <= 30


def test_plateau_waits_for_a_better_miou():
    config = stage(schedule="plateau", step_every=2, step_factor=0.1, validate_every=5)
    optimizer = build_optimizer(config, [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.1}])
    schedule = build_schedule(config, optimizer, 100)
    assert (schedule["monitor"], schedule["interval"], schedule["frequency"]) == ("miou", "epoch", 5)
    found = []
    for value in (0.5, 0.4, 0.4, 0.4, 0.4):
        schedule["scheduler"].step(value)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])  # after two validations without a better one


@pytest.mark.parametrize(("warmup", "steps"), [(0.2, 5), (0.5, 2), (0.0, 7), (0.2, 1), (0.99, 3)])
def test_one_cycle_of_few_steps_still_learns(warmup, steps):
    found = rates(stage(schedule="one-cycle", warmup=warmup), steps)
    assert max(found) == pytest.approx(0.1, rel=0.05)
    assert len(found) == steps


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_one_cycle_leaves_the_momentum_alone(momentum):
    config = stage(optimizer="sgd", schedule="one-cycle", momentum=momentum)
    optimizer = build_optimizer(config, [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.1}])
    schedule = build_schedule(config, optimizer, 10)
    for _ in range(10):
        assert optimizer.param_groups[0]["momentum"] == momentum
        optimizer.step()
        schedule["scheduler"].step()


def test_norms_and_biases_do_not_decay():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1, bias=False)
    )
    optimizer = build_optimizer(stage(optimizer="sgd", weight_decay=0.5), network_groups(network, 0.1))
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        expected = 0.95 * before[name] if name in ("0.weight", "2.weight") else before[name]
        torch.testing.assert_close(parameter.detach(), expected)


def test_a_moving_average_forgets_its_start_fast_and_then_slows_down():
    """By hand: weights that jump from 0 to 1 after the first step."""
    update, average, by_hand = moving_average(0.99), [torch.zeros(3)], 0.0
    for step in range(1, 2000):
        update(average, [torch.ones(3)], torch.tensor(step))
        decay = min(0.99, (1 + step) / (10 + step))
        by_hand = decay * by_hand + 1 - decay
        torch.testing.assert_close(average[0], torch.full((3,), by_hand))
        assert step < 30 or by_hand > 0.99  # with 0.99 from the start it would be 0.26


def test_sgd_has_momentum_and_decay():
    config = stage(optimizer="sgd", momentum=0.9, weight_decay=0.5)
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = build_optimizer(config, [{"params": [parameter], "lr": 0.1}])
    weight, velocity = 1.0, 0.0
    for _ in range(3):
        parameter.grad = torch.tensor([2.0])
        optimizer.step()
        velocity = 0.9 * velocity + 2.0 + 0.5 * weight
        weight -= 0.1 * velocity
    assert parameter.item() == pytest.approx(weight)


def test_the_last_epoch_is_validated():
    for epochs, every in ((10, 3), (7, 5), (1, 5)):
        assert epochs % validation_rhythm(stage(epochs=epochs, validate_every=every)) == 0


def trained_weights(batch_size, accumulate):
    """Of a network of one convolution after one step of SGD on eight images."""
    overrides = ["unary.optimizer=sgd", "unary.schedule=constant", "unary.epochs=1", "unary.gradient_clip=0"]
    overrides += ["loss.dice=0", "loss.class_weights=none", "unary.learning_rate=0.1"]
    config = load_config("quickstart", overrides)
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 2, 3, padding=1)
    images, labels = torch.rand(8, 3, 32, 32) * 255, torch.randint(0, 2, (8, 32, 32))
    module = StageModule(
        "unary", Segmenter(network, InputContract(stride=1)), config, SegmentationLoss(config.loss, [1, 1], 255)
    )
    trainer = L.Trainer(
        max_epochs=1, accumulate_grad_batches=accumulate, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(module, DataLoader(TensorDataset(images, labels), batch_size))
    return network.weight.detach()


def test_accumulating_four_batches_of_two_is_a_batch_of_eight():
    torch.testing.assert_close(trained_weights(2, 4), trained_weights(8, 1))
    torch.testing.assert_close(trained_weights(2, 5), trained_weights(8, 1))  # four are left of five
    assert (trained_weights(2, 1) != trained_weights(8, 1)).any()


@pytest.mark.parametrize(
    ("encoder", "count"),
    [("resnet18", 6), ("tu-mobilenetv3_small_050", 8), ("efficientnet-b0", 20), ("tu-convnext_tiny", 6)],
)
def test_blocks_are_freed_from_the_deepest_on(encoder, count):
    architecture = "Unet" if "convnext" in encoder else "FPN"
    network = build_network(ModelConfig(architecture=architecture, encoder=encoder, weights=None), 3)
    blocks = encoder_blocks(network.encoder)
    assert len(blocks) == count
    total = sum(p.numel() for p in network.encoder.parameters())
    assert sum(p.numel() for block in blocks for p in block.parameters()) == total
    callback = UnfreezeEncoder(network, 0.25)
    frozen = [callback.frozen_blocks(epoch, 8) for epoch in range(8)]
    assert frozen == [max(0, len(blocks) - max(0, epoch - 1)) for epoch in range(8)]


def test_a_network_without_encoder_is_refused():
    with pytest.raises(SegtoolError, match="no encoder to freeze"):
        UnfreezeEncoder(torch.nn.Conv2d(3, 2, 1), 0.1)


@pytest.mark.slow
def test_the_encoder_is_frozen_and_then_learns(tmp_path):
    """The same run, once ending while all is frozen and once going on."""
    common = ["model.encoder=tu-mobilenetv3_small_050", "data.crop=[64, 64]", "data.validation_images=2"]
    common += ["unary.validate_every=1", "unary.schedule=constant"]
    states = {}
    for epochs, share in ((1, 0.9), (2, 0.5)):
        config = load_config("quickstart", [*common, f"unary.epochs={epochs}", f"unary.freeze_encoder={share}"])
        trainer = PiecewiseTrainer(config, "synthetic:64", tmp_path / str(epochs), ["unary"], report=lambda line: None)
        trainer.prepare()
        L.seed_everything(config.seed, verbose=False)
        start = trainer._start_of(STAGES["unary"]).network.state_dict()
        trainer.run()
        last = torch.load(tmp_path / str(epochs) / "unary" / "last.ckpt", weights_only=False)["state_dict"]
        states[epochs] = {k.removeprefix("segmenter.network."): v for k, v in last.items()}
    encoder = [k for k in start if k.startswith("encoder.") and start[k].is_floating_point()]
    decoder = [k for k in start if k.startswith("decoder.") and k.endswith("weight")]
    assert all(torch.equal(states[1][k], start[k]) for k in encoder)  # batch statistics too
    assert any(not torch.equal(states[1][k], start[k]) for k in decoder)
    changed = {k for k in encoder if not torch.equal(states[2][k], start[k])}
    network = build_network(config.model, 5)
    deepest = {id(p) for p in encoder_blocks(network.encoder)[-1].parameters()}
    named = {name for name, p in network.named_parameters() if id(p) in deepest}
    assert named <= changed  # one block was freed in the second epoch, with its batch statistics, and no other
    stem = next(iter(named)).rsplit(".", 3)[0]
    assert all(name.startswith(stem) for name in changed)
