"""Scores against scikit-learn, torchmetrics, SciPy and counts made by hand."""

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, distance_transform_edt
from sklearn.metrics import accuracy_score, balanced_accuracy_score, jaccard_score, precision_recall_fscore_support
from torchmetrics.classification import MulticlassCalibrationError
from torchmetrics.functional.classification import multiclass_confusion_matrix
from torchmetrics.functional.classification import multiclass_jaccard_index as torchmetrics_iou

from segtool.errors import SegtoolError
from segtool.evaluation.boundaries import Truth, match_boundaries
from segtool.evaluation.counts import TOLERANCES, Counts, count_image
from segtool.evaluation.scores import class_scores, set_scores

CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)


def random_maps(seed, classes=4, shape=(32, 40)):
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, (shape[0] // 4, shape[1] // 4)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    other = random.integers(0, classes, truth.shape)
    predicted = np.where(random.random(truth.shape) < 0.8, truth, other).astype(np.uint8)
    truth[random.random(truth.shape) < 0.1] = 255
    return predicted, truth


@pytest.fixture(scope="module")
def several():
    """Summed counts of three images, and their labelled pixels in one row."""
    maps = [random_maps(seed) for seed in range(3)]
    counts = Counts.zeros(4)
    for predicted, truth in maps:
        counts += count_image(predicted, Truth(truth, 4, TOLERANCES))
    valid = [(p[t != 255], t[t != 255]) for p, t in maps]
    return counts, *(np.concatenate(parts) for parts in zip(*valid, strict=True))


def test_as_scikit_learn_has_them(several):
    counts, predicted, truth = several
    scores, each = set_scores(counts), class_scores(counts)
    assert scores.miou == pytest.approx(jaccard_score(truth, predicted, average="macro"))
    assert scores.frequency_weighted_iou == pytest.approx(jaccard_score(truth, predicted, average="weighted"))
    assert scores.pixel_accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert scores.mean_class_accuracy == pytest.approx(balanced_accuracy_score(truth, predicted))
    np.testing.assert_allclose(each.iou, jaccard_score(truth, predicted, average=None))
    precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted)
    np.testing.assert_allclose([each.precision, each.recall, each.f1], [precision, recall, f1])


def test_as_torchmetrics_has_them(several):
    counts, predicted, truth = several
    p, t = torch.from_numpy(predicted), torch.from_numpy(truth)
    assert set_scores(counts).miou == pytest.approx(float(torchmetrics_iou(p, t, 4)))
    np.testing.assert_array_equal(counts.confusion, multiclass_confusion_matrix(p, t, 4))


def test_calibration_as_torchmetrics_has_it():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.full(3, 0.4), (60, 70)).astype(np.float32)
    truth = random.integers(0, 3, (60, 70)).astype(np.uint8)
    counts = count_image(probabilities.argmax(-1).astype(np.uint8), Truth(truth, 3, TOLERANCES), probabilities.max(-1))
    metric = MulticlassCalibrationError(3, n_bins=15)
    expected = metric(torch.from_numpy(probabilities).reshape(-1, 3), torch.from_numpy(truth).long().flatten())
    assert set_scores(counts).calibration_error == pytest.approx(float(expected), abs=2e-4)


def edges_of(labels, label, known):
    return (labels == label) & binary_dilation(labels != label, CROSS) & known


@pytest.mark.parametrize("seed", [5, 6])
def test_boundary_counts_as_scipy_distances_give_them(seed):
    predicted, truth = random_maps(seed)
    known = ~binary_dilation(truth == 255, CROSS)
    counts = match_boundaries(predicted, Truth(truth, 4, TOLERANCES))
    for label in range(4):
        p, t = (edges_of(labels, label, known) for labels in (predicted, truth))
        to_p, to_t = (distance_transform_edt(~e) if e.any() else np.full(e.shape, np.inf) for e in (p, t))
        for k, tolerance in enumerate(TOLERANCES):
            expected = [p.sum(), (p & (to_t <= tolerance)).sum(), t.sum(), (t & (to_p <= tolerance)).sum()]
            assert counts[k, :, label].tolist() == expected


def test_bands_as_scipy_distances_give_them():
    truth = np.zeros((60, 50), np.uint8)
    truth[:, 30:] = 1
    truth[40:, :10] = 255
    known = ~binary_dilation(truth == 255, CROSS)
    edges = edges_of(truth, 0, known) | edges_of(truth, 1, known)
    distance = distance_transform_edt(~edges)
    expected = sum((distance > t).astype(int) for t in TOLERANCES)
    np.testing.assert_array_equal(Truth(truth, 2, TOLERANCES).bands, expected)


def test_trimap_iou_is_iou_within_the_band(several):
    predicted, truth = random_maps(1)
    counts = count_image(predicted, Truth(truth, 4, TOLERANCES))
    bands = Truth(truth, 4, TOLERANCES).bands
    for k in range(len(TOLERANCES)):
        inside = (bands <= k) & (truth != 255)
        expected = jaccard_score(truth[inside], predicted[inside], average=None, labels=range(4))
        np.testing.assert_allclose(class_scores(counts).trimap_iou[k], expected)


def score(predicted, truth, classes=3):
    return count_image(np.array(predicted, np.uint8), Truth(np.array(truth, np.uint8), classes, TOLERANCES))


def test_a_class_that_occurs_nowhere_does_not_count():
    counts = score([[0, 0], [1, 1]], [[0, 0], [1, 1]])
    assert set_scores(counts).miou == 1.0
    each = class_scores(counts)
    assert np.isnan([each.iou[2], each.precision[2], each.recall[2], each.f1[2]]).all()


def test_a_class_that_is_only_predicted_counts_as_zero():
    each = class_scores(score([[0, 2], [1, 1]], [[0, 0], [1, 1]]))
    assert each.iou.tolist() == pytest.approx([1 / 2, 1, 0])
    assert each.precision[2] == 0
    assert np.isnan(each.recall[2])


def test_by_hand_one_wrong_pixel():
    counts = score([[0, 1], [1, 1]], [[0, 0], [1, 1]])
    scores, each = set_scores(counts), class_scores(counts)
    assert each.iou[:2].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert each.precision[:2].tolist() == pytest.approx([1, 2 / 3])
    assert each.recall[:2].tolist() == pytest.approx([1 / 2, 1])
    assert each.f1[:2].tolist() == pytest.approx([2 / 3, 4 / 5])
    assert scores.pixel_accuracy == 3 / 4
    assert scores.mean_class_accuracy == 3 / 4
    assert scores.frequency_weighted_iou == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_void_counts_nowhere():
    counts = score([[0, 1], [2, 2]], [[0, 255], [255, 2]])
    assert set_scores(counts).miou == 1.0
    assert int(counts.void) == 2


def test_nothing_labelled_gives_zero_not_nan():
    scores = set_scores(score([[0, 1]], [[255, 255]]))
    assert (scores.miou, scores.pixel_accuracy, scores.boundary_f[1], scores.calibration_error) == (0, 0, 0, 0)


def test_a_single_class():
    scores = set_scores(score([[0, 0]], [[0, 0]], classes=1))
    assert scores.miou == 1.0
    assert scores.boundary_f == (0, 0, 0, 0)  # there is no boundary


def test_boundary_shifted_by_the_tolerance_is_still_right_and_beyond_is_not():
    truth = np.zeros((40, 60), np.uint8)
    truth[:, 30:] = 1
    for shift in range(10):
        predicted = np.zeros_like(truth)
        predicted[:, 30 + shift :] = 1
        expected = [1.0 if shift <= t else 0.0 for t in TOLERANCES]
        assert list(set_scores(count_image(predicted, Truth(truth, 2, TOLERANCES))).boundary_f) == pytest.approx(
            expected
        )


def test_tolerances_that_the_library_cannot_take():
    truth = np.zeros((4, 5), np.uint8)
    for tolerances in ([2, 1], [-1], [121]):
        with pytest.raises(SegtoolError, match="ascending, from 0 to 120"):
            match_boundaries(truth, Truth(truth, 2, tolerances))


def test_a_class_beyond_the_last_is_refused():
    with pytest.raises(SegtoolError, match="out of range"):
        count_image(np.full((3, 3), 7, np.uint8), Truth(np.zeros((3, 3), np.uint8), 2, TOLERANCES))


def test_confidence_out_of_range_counts_at_the_ends():
    truth = np.zeros((1, 4), np.uint8)
    counts = count_image(truth, Truth(truth, 1, TOLERANCES), np.array([[np.nan, -3, 1, 7]], np.float32))
    assert (counts.calibration[0, 0], counts.calibration[0, -1]) == (2, 2)
