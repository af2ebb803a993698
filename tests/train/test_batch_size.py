"""The largest batch that fits, and the memory of training that it is counted from."""

import numpy as np
import pytest
import torch

from segtool.crf.layer import DenseCRF, KernelWidths
from segtool.input_contract import InputContract
from segtool.train.config.presets import load_config
from segtool.train.losses import SegmentationLoss
from segtool.train.module import StageModule
from segtool.train.networks import Segmenter
from segtool.train.networks.network import build_network
from segtool.train.stages import batch_size
from segtool.train.stages.batch_size import choose_batch_size, saved_bytes

from ..conftest import TINY

FAST = [*TINY, "data.crop=[32, 32]"]


@pytest.fixture
def model():
    config = load_config("quickstart", FAST)
    return StageModule("unary", _segmenter(build_network(config.model, 5)), config, _criterion(config))


def _segmenter(network):
    return Segmenter(network, InputContract(), DenseCRF(5, KernelWidths(1.5, 20.0, 10.0), (1.0, 1.0)))


def _criterion(config):
    return SegmentationLoss(config.loss, np.ones(5), 255)


def test_batch_size_is_the_largest_that_fits(model, monkeypatch):
    each = 2 * saved_bytes(model, (64, 64))
    weights = 4 * 4 * sum(p.numel() for p in model.segmenter.parameters())
    for wanted in (1, 2, 4, 8):
        monkeypatch.setattr(batch_size, "_free", lambda n=wanted: (weights + 1.4 * n * each) / 0.7)
        assert choose_batch_size(model, (64, 64), 1000) == wanted
    monkeypatch.setattr(batch_size, "_free", lambda: 10**15)
    assert choose_batch_size(model, (64, 64), 1000) == 16
    assert choose_batch_size(model, (64, 64), 5) == 4


def test_saved_bytes_grow_with_the_crop_and_leave_the_network_alone(model):
    before = {k: v.clone() for k, v in model.segmenter.state_dict().items()}
    assert saved_bytes(model, (128, 128)) == pytest.approx(4 * saved_bytes(model, (64, 64)), rel=0.15)
    assert all(torch.equal(v, before[k]) for k, v in model.segmenter.state_dict().items())


def test_saved_bytes_of_a_convolution_and_a_relu_by_hand():
    """A convolution keeps its input, ReLU its output; cross-entropy keeps its log-probabilities."""
    config = load_config("quickstart", [*FAST, "loss={dice: 0, class_weights: none}"])
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 1), torch.nn.ReLU(), torch.nn.Conv2d(6, 5, 1))
    found = saved_bytes(StageModule("unary", _segmenter(network), config, _criterion(config)), (64, 64))
    pixels = 64 * 64
    floats = pixels * (3 + 6 + 5)
    assert 4 * floats <= found <= 4 * floats + 8 * pixels * 3  # labels besides


def test_joint_training_counts_what_the_crf_keeps():
    """Each iteration keeps both messages, and all but the last its softmax."""
    config = load_config("quickstart", FAST)
    network = torch.nn.Conv2d(3, 5, 1)
    unary, joint = (
        saved_bytes(StageModule(stage, _segmenter(network), config, _criterion(config)), (64, 64))
        for stage in ("unary", "joint")
    )
    iterations, values = config.crf.iterations, 4 * 5 * 64 * 64
    assert joint - unary >= (3 * iterations - 1) * values
