"""Reading, inference and writing overlap, and nothing gets lost or mixed up."""

import threading
import time

import numpy as np
import pytest

from segtool.errors import SegtoolError
from segtool.prediction import Prediction
from segtool.runtime import pipeline
from segtool.runtime.pipeline import run_overlapped


def predicted(images):
    return [Prediction(image[..., 0], image[..., 0].astype(np.float32)) for image in images]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_all_items_in_order_with_their_own_results(batch):
    written, sizes = {}, []

    def read(item):
        time.sleep(0.001 * (item % 3))
        if item == 5:
            raise SegtoolError("unreadable")
        return np.full((4 + item // 7, 5, 3), item, np.uint8)

    def predict(images):
        assert len({image.shape for image in images}) == 1
        sizes.append(len(images))
        return predicted(images)

    def write(item, image, prediction):
        if item == 9:
            raise SegtoolError("disk full")
        written[item] = int(prediction.labels[0, 0])

    outcomes = list(run_overlapped(range(20), read, predict, write, batch=batch))
    assert [item for item, _ in outcomes] == list(range(20))
    assert {item: str(error) for item, error in outcomes if error} == {5: "unreadable", 9: "disk full"}
    assert written == {i: i for i in range(20) if i not in (5, 9)}
    assert max(sizes) <= batch
    assert batch == 1 or max(sizes) > 1


def test_a_failed_prediction_is_an_outcome_and_the_rest_goes_on():
    def predict(images):
        if images[0][0, 0, 0] == 2:
            raise SegtoolError("out of memory")
        return predicted(images)

    outcomes = dict(run_overlapped(range(5), lambda i: np.full((2, 2, 3), i, np.uint8), predict, lambda *_: None))
    assert [i for i, error in outcomes.items() if error] == [2]


def test_a_programming_error_is_raised():
    def write(*_):
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        list(run_overlapped(range(3), lambda i: np.zeros((2, 2, 3), np.uint8), predicted, write))


def test_reading_and_writing_go_on_while_a_model_runs():
    """While the first prediction waits, later images are read; while the last ones are written, it predicts."""
    read_third, may_predict = threading.Event(), threading.Event()

    def read(item):
        if item == 2:
            read_third.set()
        return np.zeros((2, 2, 3), np.uint8)

    def predict(images):
        assert read_third.wait(10), "the third image is read before the first is predicted"
        return predicted(images)

    def write(item, image, prediction):
        if item == 0:
            assert may_predict.wait(10), "the second is predicted before the first is written"
        if item == 1:
            may_predict.set()

    assert len(list(run_overlapped(range(4), read, predict, write))) == 4


def test_a_long_list_is_not_read_whole_ahead_of_time():
    read, done = [], []
    for item, _ in run_overlapped(range(500), lambda i: read.append(i) or np.zeros((2, 2, 3), np.uint8), predicted,
                                  lambda *_: None):  # fmt: skip
        done.append(item)
        assert len(read) - len(done) < 40


def test_predictions_at_once_keep_their_order():
    """Each of the two waits for the other, which only calls at once can do."""
    both, written = threading.Barrier(2), []

    def predict(images):
        both.wait(10)
        time.sleep(0.01 * (images[0][0, 0, 0] % 2 == 0))  # the earlier one ends later
        return predicted(images)

    outcomes = run_overlapped(
        range(8), lambda i: np.full((2, 2, 3), i, np.uint8), predict,
        lambda i, _, prediction: written.append((i, int(prediction.labels[0, 0]))), writers=1, concurrency=2,
    )  # fmt: skip
    assert [item for item, error in outcomes if error is None] == list(range(8))
    assert written == [(i, i) for i in range(8)]


def test_large_images_are_in_memory_one_at_a_time(monkeypatch):
    monkeypatch.setattr(pipeline, "MOST_AT_ONCE", 100)
    weights = [1, 2, 120, 3, 60, 60, 30, 150, 150, 5, 5]
    lock, held, most = threading.Lock(), set(), []

    def read(item):
        with lock:
            held.add(item)
            most.append([weights[other] for other in held])
        return np.full((4, 4, 3), item, np.uint8)

    def write(item, image, prediction):
        time.sleep(0.01)
        with lock:
            held.discard(item)

    done = pipeline.run_overlapped(range(len(weights)), read, predicted, write, batch=2, weigh=weights.__getitem__)
    assert [item for item, error in done if error is None] == [*range(len(weights))]
    assert all(sum(together) <= 100 or len(together) == 1 for together in most), most
    assert max(len(together) for together in most) > 1
