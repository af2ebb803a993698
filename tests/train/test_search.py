"""The search over kernel widths, and the temperature that stage 2 ends with."""

import numpy as np
import pytest
import torch

from segtool.card import ClassInfo
from segtool.crf.layer import DenseCRF, KernelWidths
from segtool.data.base import Sample, SegmentationDataset
from segtool.input_contract import InputContract
from segtool.train.config.presets import load_config
from segtool.train.networks import Segmenter
from segtool.train.stages import search
from segtool.train.stages.temperature import fit_temperature

CROPS = [(torch.zeros(3, 1, 400), torch.zeros(3, 1, 400), torch.zeros(1, 400, dtype=torch.long))]


def searched(monkeypatch, best, best_weights=(0.5, 1.0), crops=CROPS, **choices):
    """The search where the loss is the distance of widths and weights from the best, in octaves."""

    def loss(batches, widths, weights, config, criterion):
        found, wanted = np.array([*widths, *weights]), np.array([*best, *best_weights])
        return float(np.abs(np.log2(found / wanted)).sum())

    monkeypatch.setattr(search, "_loss", loss)
    weights = [(1.0, 2.0), (0.5, 1.0), (0.25, 0.5)]
    config = load_config("quickstart", []).crf.model_copy(update={"weight": weights, **choices})
    return search.search_crf(crops, config, None)


GRID = {"spatial_gamma": [1.5, 3.0], "bilateral_alpha": [10.0, 20.0, 40.0], "bilateral_beta": [8.0, 16.0]}


def test_a_best_within_the_grid_is_kept(monkeypatch):
    grid = GRID | {"spatial_gamma": [1.0, 2.0, 4.0], "bilateral_beta": [4.0, 8.0, 16.0]}
    widths, weights, trials = searched(monkeypatch, (2.1, 21.0, 8.2), **grid)
    assert widths == (2.0, 20.0, 8.0)
    assert weights == (0.5, 1.0)
    assert len(trials) == 3 * 3 * 3 * 3


def test_a_best_on_the_edge_of_the_grid_is_followed(monkeypatch):
    widths, _, trials = searched(monkeypatch, (6.2, 155.0, 3.9), **GRID)
    assert widths == (6.0, 160.0, 4.0)
    assert {trial["bilateral_alpha"] for trial in trials} == {10, 20, 40, 80, 160, 320}  # one beyond the best


def test_kernels_wider_than_the_crops_are_not_tried(monkeypatch):
    small = [tuple(part[..., :90] for part in CROPS[0])]
    widths, _, trials = searched(monkeypatch, (2.1, 155.0, 8.2), crops=small, **GRID)
    assert widths.bilateral_alpha == 80
    assert max(trial["bilateral_alpha"] for trial in trials) == 80


def test_a_gain_that_means_nothing_is_not_followed(monkeypatch):
    """Wider is better, but by a ten-thousandth."""
    monkeypatch.setattr(search, "_loss", lambda batches, widths, *_: 1.0 - 1e-6 * widths.bilateral_alpha)
    config = load_config("quickstart", []).crf.model_copy(update=GRID)
    widths, _, _ = search.search_crf(CROPS, config, None)
    assert widths.bilateral_alpha == 40


def test_weights_go_on_too(monkeypatch):
    grid = GRID | {"spatial_gamma": [1.0, 2.0, 4.0], "bilateral_beta": [4.0, 8.0, 16.0]}
    _, weights, _ = searched(monkeypatch, (2.1, 21.0, 8.2), (0.06, 0.12), **grid)
    assert weights == (0.0625, 0.125)


def test_a_width_with_one_choice_stays_and_others_stop_at_their_limits(monkeypatch):
    widths, _, _ = searched(monkeypatch, (100.0, 1e5, 1e-3), **GRID | {"spatial_gamma": [1.5]})
    assert widths == (1.5, 320.0, 2.0)


class Colours(torch.nn.Module):
    """The logits are the colours."""

    def forward(self, x):
        return 3 * x


class Drawn(SegmentationDataset):
    """Labels drawn from the softmax of the logits divided by a temperature."""

    name, split = "drawn", "val"
    classes = tuple(ClassInfo(id=i, name=f"c{i}", color=(i, i, i)) for i in range(3))

    def __init__(self, temperature, void=False):
        self.temperature, self.void = temperature, void

    def __len__(self):
        return 6

    def identifier(self, index):
        return str(index)

    def load(self, index):
        random = np.random.default_rng(index)
        image = random.integers(0, 256, (64, 96, 3)).astype(np.uint8)
        mean, std = np.array(InputContract().mean) * 255, np.array(InputContract().std) * 255
        logits = 3 * (image - mean) / std / self.temperature
        labels = (logits + random.gumbel(size=logits.shape)).argmax(2).astype(np.uint8)
        labels[:20] = 255
        return Sample(image, np.full_like(labels, 255) if self.void else labels)


@pytest.mark.parametrize(
    ("scale", "drawn", "expected"),
    [
        (1.0, 1.0, 1.0),  # the network is right, and the CRF says the same
        (1.0, 2.5, 2.5),  # both are too sure: the labels decide
        (2.0, 1.0, 2.0),  # the CRF alone is
        (2.0, 0.5, 2.0),  # the CRF is right; its network, as accurate, is less sure
    ],
)
def test_the_temperature_is_what_labels_and_network_allow(scale, drawn, expected):
    """A CRF that does nothing but multiply the logits of its network, on labels drawn at a temperature."""
    crf = DenseCRF(3, KernelWidths(1.0, 10.0, 10.0), (0.0, 0.0))
    torch.nn.init.constant_(crf.unary_scale, scale)
    crf.temperature = 7.0  # of an earlier stage
    segmenter = Segmenter(Colours(), InputContract(), crf).eval()
    assert fit_temperature(segmenter, Drawn(drawn)) == pytest.approx(expected, rel=0.05)


def test_without_labels_nothing_is_changed():
    segmenter = Segmenter(Colours(), InputContract(), DenseCRF(3, KernelWidths(1.0, 10.0, 10.0), (0.0, 0.0))).eval()
    assert fit_temperature(segmenter, Drawn(1.0, void=True)) == 1.0
