"""Failure analysis: planted faults are found, named and explained."""

import numpy as np
import pandas as pd
import pytest

from segtool.card import ClassInfo
from segtool.data.base import Sample, SegmentationDataset
from segtool.evaluation.diagnosis import diagnose
from segtool.evaluation.evaluate import evaluate_with
from segtool.evaluation.examine import examine, failing
from segtool.evaluation.failures import collect_failures, error_overlay
from segtool.evaluation.workers import Workers
from segtool.images import read_image
from segtool.prediction import Prediction

SIZE = (60, 80)
BOX = (slice(15, 45), slice(20, 60))


def truth_of(index):
    """Ground (0), a house (1) in the middle and a post (2); the image shows the classes."""
    labels = np.zeros(SIZE, np.uint8)
    labels[BOX] = 1
    labels[5:50, 66 + index % 8 : 70 + index % 8] = 2
    return labels


def sample_of(labels, shown=None):
    shown = labels if shown is None else shown
    return Sample((shown[..., None] * np.array([60, 90, 30])).astype(np.uint8), labels)


class Streets(SegmentationDataset):
    name, split = "streets", "val"

    def __init__(self, wrong_labels=()):
        self.classes = [ClassInfo(id=i, name=n, color=(80 * i,) * 3) for i, n in enumerate(("ground", "house", "post"))]
        self.wrong_labels = wrong_labels

    def __len__(self):
        return 50

    def identifier(self, index):
        return f"street_{index:02d}"

    def load(self, index):
        shown = truth_of(index)
        labels = shown.copy()
        if index in self.wrong_labels:
            labels[BOX] = 2
        sample = sample_of(labels, shown)
        sample.image[0, 0] = index
        return sample


class Model:
    """Reads the classes off the image; sure of itself except where it is told to be wrong."""

    def __init__(self, wrong=(), instead=2):
        self.wrong, self.instead = wrong, instead

    def __call__(self, image):
        index = int(image[0, 0, 0])
        labels, confidence = truth_of(index), np.full(SIZE, 0.97, np.float32)
        if index in self.wrong:
            labels[BOX], confidence[BOX] = self.instead, 0.6
        return Prediction(labels, confidence)


def failures(model, dataset, threshold=0.8, folder=None):
    with Workers(lambda: (model, dataset)) as workers:
        examined = examine(workers, failing(evaluate_with(workers), threshold))
        return collect_failures(examined, threshold, dataset.classes, folder).rows


def test_three_wrong_predictions_in_fifty_are_found_and_named():
    rows = failures(Model(wrong=(7, 23, 41)), Streets())
    assert {row["image"] for row in rows} == {"street_07", "street_23", "street_41"}
    for row in rows:
        assert row["kind"] == "wrong class"
        assert (row["true_class"], row["predicted_class"]) == ("house", "post")
        assert row["share_of_errors"] == 1.0


def test_a_house_taken_for_ground_was_missed():
    (row,) = failures(Model(wrong=(3,), instead=0), Streets())
    assert (row["image"], row["kind"], row["predicted_class"]) == ("street_03", "missed object", "ground")


def test_a_wrong_label_is_suspected():
    (row,) = failures(Model(), Streets(wrong_labels=(12,)))
    assert (row["image"], row["kind"]) == ("street_12", "label suspected")
    assert (row["true_class"], row["predicted_class"]) == ("post", "house")


def test_a_shifted_boundary_is_a_near_miss():
    sample = sample_of(truth_of(0))
    predicted = np.roll(truth_of(0), 2, axis=1)
    found = diagnose(sample, Prediction(predicted, np.full(SIZE, 0.9, np.float32)), 3)
    assert found.kind == "near boundary"
    assert found.shares["near boundary"] == pytest.approx(1.0)


def test_noise_is_scattered_and_shares_sum_to_one():
    sample = sample_of(np.zeros(SIZE, np.uint8))
    predicted = (np.random.default_rng(0).random(SIZE) < 0.2).astype(np.uint8)
    found = diagnose(sample, Prediction(predicted, np.full(SIZE, 0.9, np.float32)), 3)
    assert found.kind == "scattered"
    assert sum(found.shares.values()) == pytest.approx(1.0)


def test_nothing_wrong_and_nothing_labelled():
    sample = sample_of(truth_of(0))
    right = Prediction(truth_of(0), np.ones(SIZE, np.float32))
    assert diagnose(sample, right, 3).pair is None
    assert diagnose(sample_of(np.full(SIZE, 255, np.uint8)), right, 3).kind == "none"


def test_the_folder_holds_tables_and_pictures(tmp_path):
    rows = failures(Model(wrong=(7, 23)), Streets(), folder=tmp_path)
    table = pd.read_csv(tmp_path / "failures.csv")
    assert table["image"].tolist() == [row["image"] for row in rows]
    for kind in ("images", "masks", "predictions", "errors"):
        assert sorted(p.name for p in (tmp_path / kind).iterdir()) == ["street_07.png", "street_23.png"]
    sample = Streets().load(7)
    expected = error_overlay(sample, Model(wrong=(7,))(sample.image), 3)
    np.testing.assert_array_equal(read_image(tmp_path / "errors" / "street_07.png"), expected)
    assert expected[30, 40, 0] > 2 * expected[30, 40, 1]  # red in the house
    assert (expected[2, 2] == expected[2, 2, 0]).all()  # grey where it is right
