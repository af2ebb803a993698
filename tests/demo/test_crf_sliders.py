"""The CRF under other parameters: the model's own are the model, and each does what its name says."""

import numpy as np
import pytest

from segtool.demo.crf import changed
from segtool.train.checkpoint import load_segmenter
from segtool.train.predict import TorchPredictor
from segtool.train.tuning import CrfTuner


@pytest.fixture(scope="module")
def segmenter(tiny_run):
    return load_segmenter(tiny_run)


def own(crf):
    return changed(crf, 1.0, 1.0, crf.spatial_gamma, crf.bilateral_alpha, crf.bilateral_beta, crf.iterations)


def test_the_models_own_parameters_are_the_model(segmenter, photo):
    model, card = segmenter
    assert own(card.crf) == card.crf
    found, expected = CrfTuner(model)(photo, card.crf), TorchPredictor(model)(photo)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.unary_labels, expected.unary_labels)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-5)


def test_without_weights_a_scaled_unary_is_left(segmenter, photo):
    model, card = segmenter
    crf = card.crf.model_copy(update={"unary_scale": [1.0] * len(card.classes)})
    nothing = changed(crf, 0.0, 0.0, 1.0, 20.0, 10.0, 3)
    found = CrfTuner(model)(photo, nothing)
    np.testing.assert_array_equal(found.labels, found.unary_labels)


def test_the_network_sees_an_image_once(segmenter, photo):
    model, card = segmenter
    seen = []
    hook = model.network.register_forward_hook(lambda *_: seen.append(1))
    try:
        tuner = CrfTuner(model)
        answers = [tuner(photo, changed(card.crf, 1.0, w, 3.0, 20.0, 10.0, 5)) for w in (0.0, 1.0, 3.0)]
        assert len(seen) == 1
        tuner(photo[::-1].copy(), card.crf)
        assert len(seen) == 2
    finally:
        hook.remove()
    assert not np.array_equal(answers[0].confidence, answers[2].confidence)
