"""Scores against scikit-learn, SciPy and counts made by hand."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from sklearn.metrics import accuracy_score, jaccard_score

from segtool.train.metrics import Scorer, boundary_counts


def _random_maps(seed):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 4, (8, 10)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    predicted = np.where(random.random(truth.shape) < 0.8, truth, random.integers(0, 4, truth.shape)).astype(np.uint8)
    truth[random.random(truth.shape) < 0.1] = 255
    return predicted, truth


def test_iou_and_accuracy_as_scikit_learn_has_them():
    maps = [_random_maps(seed) for seed in range(3)]
    scorer = Scorer(4)
    for predicted, truth in maps:
        scorer.update(torch.from_numpy(predicted), torch.from_numpy(truth))
    valid = [(p[t != 255], t[t != 255]) for p, t in maps]
    predicted, truth = (np.concatenate(parts) for parts in zip(*valid, strict=True))
    scores = scorer.compute()
    assert scores.miou == pytest.approx(jaccard_score(truth, predicted, average="macro"))
    assert scores.pixel_accuracy == pytest.approx(accuracy_score(truth, predicted))
    np.testing.assert_allclose(scorer.class_iou(), jaccard_score(truth, predicted, average=None))


def test_boundary_counts_as_scipy_distances_give_them():
    predicted, truth = _random_maps(5)
    counts = boundary_counts(torch.from_numpy(predicted), torch.from_numpy(truth), 4, 2).numpy()

    def neighbors(mask):
        padded = np.pad(mask, 1, constant_values=False)
        return padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]

    void = truth == 255
    known = ~void & ~neighbors(void)
    for label in range(4):
        edges = []
        for labels in (predicted, truth):
            edges.append((labels == label) & neighbors(labels != label) & known)
        far = [distance_transform_edt(~e) if e.any() else np.full(e.shape, np.inf) for e in edges]
        expected = [
            edges[0].sum(),
            (edges[0] & (far[1] <= 2)).sum(),
            edges[1].sum(),
            (edges[1] & (far[0] <= 2)).sum(),
        ]
        assert counts[:, label].tolist() == expected


def _score(predicted, truth, classes=3):
    scorer = Scorer(classes)
    scorer.update(torch.tensor(predicted, dtype=torch.uint8), torch.tensor(truth, dtype=torch.uint8))
    return scorer


def test_a_class_that_occurs_nowhere_does_not_count():
    scorer = _score([[0, 0], [1, 1]], [[0, 0], [1, 1]])
    assert scorer.compute().miou == 1.0
    assert torch.isnan(scorer.class_iou()[2])


def test_by_hand_one_wrong_pixel():
    scorer = _score([[0, 1], [1, 1]], [[0, 0], [1, 1]])
    assert scorer.class_iou()[:2].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert scorer.compute().pixel_accuracy == 3 / 4


def test_nothing_labelled_gives_zero_not_nan():
    scores = _score([[0, 1]], [[255, 255]]).compute()
    assert (scores.miou, scores.pixel_accuracy, scores.boundary_f) == (0.0, 0.0, 0.0)


def test_boundary_shifted_by_the_tolerance_is_still_right_and_beyond_is_not():
    truth = np.zeros((20, 30), int)
    truth[:, 15:] = 1
    for shift, expected in ((0, 1.0), (2, 1.0), (3, 0.0)):
        predicted = np.zeros((20, 30), int)
        predicted[:, 15 + shift :] = 1
        assert _score(predicted.tolist(), truth.tolist(), 2).compute().boundary_f == pytest.approx(expected)
