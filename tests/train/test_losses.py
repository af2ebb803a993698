"""Losses and class weights against hand computations."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segtool.card import ClassInfo
from segtool.data.statistics import class_weights, count_masks
from segtool.train.config.settings import LossConfig
from segtool.train.losses import SegmentationLoss

# Two masks. Of 80 labelled pixels 56, 16 and 8 are of the three classes; the last class is in the second mask alone,
# where it has 8 of 20 pixels. Void counts nowhere.
MASKS = [
    np.repeat([0, 1, 255], [50, 10, 20])[None].astype(np.uint8),
    np.repeat([0, 1, 2], [6, 6, 8])[None].astype(np.uint8),
]
CLASSES = [ClassInfo(id=i, name=f"c{i}", color=(i, i, i)) for i in range(3)]
FOUND = count_masks(CLASSES, MASKS)


def random_batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 10, generator=generator)
    labels = torch.randint(0, 3, (2, 8, 10), generator=generator)
    labels[:, :2] = 255
    return logits, labels


def loss(logits, labels, **config):
    defaults = {"cross_entropy": 0.0, "dice": 0.0, "focal": 0.0, "class_weights": "none"}
    config = LossConfig(**{**defaults, **config})
    return SegmentationLoss(config, class_weights(config.class_weights, FOUND), 255)(logits, labels)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", [1, 1, 1]),
        ("log", [1 / np.log(1.8), 1 / np.log(1.3), 1 / np.log(1.2)]),
        ("median", [0.2 / 0.7, 1, 0.2 / 0.4]),
        ("inverse", [1 / 0.7, 1 / 0.2, 1 / 0.1]),
    ],
)
def test_class_weights(name, expected):
    np.testing.assert_allclose(class_weights(name, FOUND), np.array(expected) / np.mean(expected))


def test_a_class_that_never_occurs_weighs_as_much_as_the_rarest():
    weights = class_weights("inverse", count_masks(CLASSES, MASKS[:1]))
    assert weights[2] == weights[1]
    assert np.isfinite(weights).all()


def test_focal_loss_is_the_paper_s_equation():
    logits, labels = random_batch()
    known = labels != 255
    p = logits.softmax(1).permute(0, 2, 3, 1)[known].gather(1, labels[known][:, None])[:, 0]
    expected = (-((1 - p) ** 2) * p.log()).mean()
    torch.testing.assert_close(loss(logits, labels, focal=1.0), expected)


def test_focal_loss_without_focus_is_cross_entropy():
    logits, labels = random_batch()
    for weights in ("none", "log"):
        expected = loss(logits, labels, cross_entropy=1.0, class_weights=weights)
        torch.testing.assert_close(loss(logits, labels, focal=1.0, focal_gamma=0.0, class_weights=weights), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
def test_focal_loss_has_gradients_where_the_network_is_certain(gamma):
    logits = torch.tensor([[60.0, -60.0, 0.0]])[..., None, None].requires_grad_()
    for label in range(3):
        loss(logits, torch.tensor([[[label]]]), focal=1.0, focal_gamma=gamma).backward()
        assert logits.grad.isfinite().all()


def test_two_halves_with_common_weights_are_the_whole_batch():
    """What processes that share a batch do: the mean of their losses is the loss of all of it."""
    logits, labels = random_batch()
    labels[0, 3:] = 255  # the halves have different numbers of labels
    config = LossConfig(cross_entropy=1.0, focal=0.5, dice=0.0, class_weights="inverse")
    criterion = SegmentationLoss(config, class_weights("inverse", FOUND), 255)
    totals = []
    criterion(logits, labels, lambda total: totals.append(total) or total)
    mean = totals[0] / 2
    halves = [criterion(logits[i : i + 1], labels[i : i + 1], lambda _: mean) for i in range(2)]
    torch.testing.assert_close(sum(halves) / 2, criterion(logits, labels))


def test_cross_entropy_is_weighted():
    logits, labels = random_batch()
    weight = torch.tensor(class_weights("inverse", FOUND)).float()
    expected = F.cross_entropy(logits, labels, weight, ignore_index=255)
    torch.testing.assert_close(loss(logits, labels, cross_entropy=1.0, class_weights="inverse"), expected)


def test_losses_add_up():
    logits, labels = random_batch()
    parts = [loss(logits, labels, **{name: 1.0}) for name in ("cross_entropy", "dice", "focal")]
    together = loss(logits, labels, cross_entropy=0.5, dice=1.1, focal=2.0)
    torch.testing.assert_close(together, 0.5 * parts[0] + 1.1 * parts[1] + 2.0 * parts[2])


def test_void_changes_nothing():
    logits, labels = random_batch()
    other = logits.clone()
    other[:, :, :2] = 100 * torch.randn(2, 3, 2, 10)
    every = {"cross_entropy": 1.0, "dice": 1.0, "focal": 1.0, "class_weights": "log"}
    torch.testing.assert_close(loss(logits, labels, **every), loss(other, labels, **every))
    logits.requires_grad_()
    loss(logits, labels, **every).backward()
    assert (logits.grad[:, :, :2] == 0).all()


def test_nothing_but_void_gives_zero_with_a_gradient():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    value = loss(logits, torch.full((1, 4, 4), 255), cross_entropy=1.0, dice=1.0)
    value.backward()
    assert float(value.detach()) == 0
    assert (logits.grad == 0).all()
