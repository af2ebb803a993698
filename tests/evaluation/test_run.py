"""Evaluating a split: the same from any number of processes, intervals, rows."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from segtool.card import ClassInfo
from segtool.data.base import Sample, SegmentationDataset
from segtool.evaluation.bootstrap import Bootstrap
from segtool.evaluation.evaluate import evaluate, evaluate_with
from segtool.evaluation.table import TableFiles
from segtool.evaluation.workers import Workers
from segtool.prediction import Prediction


class Noise(SegmentationDataset):
    """Labels in blocks; the image's first channel holds them."""

    name, split = "noise", "val"

    def __init__(self, count=20):
        self.count = count
        self.classes = [ClassInfo(id=i, name=f"c{i}", color=(i, i, i)) for i in range(4)]

    def __len__(self):
        return self.count

    def identifier(self, index):
        return f"{index:03d}"

    def load(self, index):
        random = np.random.default_rng(index)
        labels = random.integers(0, 4, (6, 7)).repeat(5, 0).repeat(5, 1).astype(np.uint8)
        return Sample(np.dstack([labels, labels, labels + index]), labels)


class Guess:
    """Right on most pixels; more of them after the CRF."""

    def __call__(self, image):
        random = np.random.default_rng(int(image[..., 2].sum()))
        draw, other = random.random(image.shape[:2]), random.integers(0, 4, image.shape[:2]).astype(np.uint8)
        labels, unary = (np.where(draw < share, image[..., 0], other) for share in (0.8, 0.6))
        return Prediction(labels, draw.astype(np.float32), unary)


def open_both(count):
    return Guess(), Noise(count)


def test_four_processes_give_the_numbers_of_one():
    one_rows, four_rows = [], []
    one = evaluate(*open_both(20), one_rows.append)
    with Workers(partial(open_both, 20), 4) as workers:
        four = evaluate_with(workers, four_rows.append)
    for field in ("confusion", "boundary", "bands", "calibration", "void"):
        np.testing.assert_array_equal(getattr(one.before, field), getattr(four.before, field))
        np.testing.assert_array_equal(getattr(one.after, field), getattr(four.after, field))
    assert one.bootstrap.miou() == four.bootstrap.miou()
    assert (one.mious, one.crf_gains) == (four.mious, four.crf_gains)
    pd.testing.assert_frame_equal(pd.DataFrame(one_rows), pd.DataFrame(four_rows))


def test_rows_are_the_images_and_files_hold_them(tmp_path):
    rows = []
    with TableFiles(tmp_path) as table:
        evaluate(*open_both(5), lambda row: (rows.append(row), table(row)))
    assert [row["image"] for row in rows] == ["000", "001", "002", "003", "004"]
    assert all(row["crf_gain"] == pytest.approx(row["miou"] - row["miou_before_crf"]) for row in rows)
    from_csv = pd.read_csv(tmp_path / "images.csv", dtype={"image": str})
    pd.testing.assert_frame_equal(from_csv, pd.read_parquet(tmp_path / "images.parquet"), check_dtype=False)
    pd.testing.assert_frame_equal(from_csv, pd.DataFrame(rows), check_dtype=False)


def test_boundary_f_is_given_for_all_images_together_and_as_their_mean():
    rows = []
    found = evaluate(*open_both(12), rows.append)
    means = pd.DataFrame(rows)[[f"boundary_f_{t}px" for t in (1, 2, 4, 8)]].mean().tolist()
    assert found.boundary_after.values == pytest.approx(means)
    assert found.scores()[1].boundary_f != pytest.approx(means, abs=1e-4)
    assert found.boundary_before.values[0] < found.boundary_after.values[0]


def test_a_run_that_fails_leaves_no_table(tmp_path):
    with pytest.raises(RuntimeError), TableFiles(tmp_path) as table:
        evaluate(*open_both(3), table)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_intervals_hold_the_score_and_shrink_with_more_images():
    widths = []
    for count in (10, 40):
        found = evaluate(*open_both(count))
        before, after, difference = found.bootstrap.miou()
        scores = found.scores()
        assert before.low <= scores[0].miou <= before.high
        assert after.low <= scores[1].miou <= after.high
        assert 0 < difference.low <= scores[1].miou - scores[0].miou <= difference.high
        widths.append(after.high - after.low)
    assert widths[1] < widths[0]


def test_bootstrap_has_the_spread_of_resampling_images():
    """Against the ordinary bootstrap, which draws whole sets with replacement."""
    random = np.random.default_rng(0)
    true = random.integers(100, 200, (60, 2))
    both = (true * random.uniform(0.3, 0.9, (60, 2))).astype(np.int64)
    bootstrap = Bootstrap(2)
    for index in range(60):
        margins = np.stack([true[index], true[index], both[index]])
        bootstrap.add(index, margins, margins)
    replicates = []
    for _ in range(4000):
        drawn = random.integers(0, 60, 60)
        t, b = true[drawn].sum(0), both[drawn].sum(0)
        replicates.append((b / (2 * t - b)).mean())
    expected = np.percentile(replicates, [2.5, 97.5])
    np.testing.assert_allclose(bootstrap.miou()[0], expected, atol=0.006)
    assert bootstrap.miou()[2] == (0, 0)


def test_without_a_crf_there_is_no_after():
    class Unary(Guess):
        def __call__(self, image):
            return super().__call__(image)._replace(unary_labels=None)

    rows = []
    found = evaluate(Unary(), Noise(3), rows.append)
    assert found.after is None
    assert found.validation_scores().after_crf is None
    assert "crf_gain" not in rows[0]
