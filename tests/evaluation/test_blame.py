"""Which kernel moved the labels."""

import numpy as np
import torch

from segtool.evaluation.blame import blame_kernels
from segtool.prediction import Prediction
from segtool.train.checkpoint import load_segmenter
from segtool.train.predict import TorchPredictor


def labels(*values):
    return np.array([values], np.uint8)


def test_each_cause_is_told_apart():
    truth = labels(0, 0, 0, 0, 0, 0, 255)
    unary = labels(0, 0, 0, 0, 0, 1, 0)
    final = labels(1, 1, 1, 1, 0, 0, 1)
    alone = {"spatial": labels(1, 0, 1, 0, 1, 1, 1), "bilateral": labels(0, 1, 1, 0, 1, 1, 1)}
    found = blame_kernels(truth, Prediction(final, np.ones((1, 7), np.float32), unary), alone, 2)
    assert (found.harmed, found.mended) == (4, 1)
    kernels = dict.fromkeys(("spatial", "bilateral", "either", "both together"), 0.25)
    assert found.shares == kernels | {"context": 0}


def test_harm_that_context_did_is_not_the_kernels():
    truth, unary = labels(0, 0, 0), labels(0, 0, 0)
    between, final = labels(1, 1, 0), labels(1, 1, 1)
    prediction = Prediction(final, np.ones((1, 3), np.float32), unary, context_labels=between)
    found = blame_kernels(truth, prediction, {"spatial": labels(1, 1, 1), "bilateral": labels(0, 0, 0)}, 2)
    assert found.cause == "context"
    assert (found.shares["context"], found.shares["spatial"]) == (2 / 3, 1 / 3)


def test_all_harm_of_a_model_without_a_dense_crf_is_contexts():
    found = blame_kernels(labels(0, 0), Prediction(labels(1, 0), np.ones((1, 2), np.float32), labels(0, 0)), {}, 2)
    assert (found.harmed, found.cause, found.shares["context"]) == (1, "context", 1.0)


def test_no_harm_has_no_cause():
    same = labels(0, 1)
    found = blame_kernels(same, Prediction(same, np.ones((1, 2), np.float32), same), dict.fromkeys(
        ("spatial", "bilateral"), same
    ), 2)  # fmt: skip
    assert (found.harmed, found.cause) == (0, "")


def test_one_kernel_alone_is_the_crf_without_the_other(tiny_run, photo):
    """Against a model whose other compatibilities were set to zero."""
    segmenter, _ = load_segmenter(tiny_run)
    found = TorchPredictor(segmenter).labels_by_kernel(photo)
    for kernel, other in (("spatial", "bilateral"), ("bilateral", "spatial")):
        changed, _ = load_segmenter(tiny_run)
        getattr(changed.crf, f"{other}_weight").data.zero_()
        np.testing.assert_array_equal(found[kernel], TorchPredictor(changed)(photo).labels)
    assert (found["spatial"] != found["bilateral"]).any()


def test_a_model_without_crf_has_no_kernels(tiny_run, photo):
    segmenter, _ = load_segmenter(tiny_run / "unary" / "best.safetensors")
    assert TorchPredictor(segmenter).labels_by_kernel(photo) == {}


def test_windows_reach_the_crf_as_one_image(tiny_run, photo):
    from segtool.train.config.views import Views
    from segtool.train.views import view_logits

    segmenter, _ = load_segmenter(tiny_run)
    views = Views(48, 32)
    slid = TorchPredictor(segmenter, views=views)(photo)
    pixels = torch.from_numpy(photo).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        unary = view_logits(segmenter.unary, pixels, views)
        final = segmenter.crf(unary, pixels)
    assert (slid.unary_labels == unary.argmax(1)[0].numpy()).all()
    assert (slid.labels == final.argmax(1)[0].numpy()).all()
    assert (slid.unary_labels != TorchPredictor(segmenter)(photo).unary_labels).any()
