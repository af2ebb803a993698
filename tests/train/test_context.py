"""Stage `context`: learned where only something distant tells two look-alike classes apart, scored and calibrated."""

import json

import numpy as np
import torch

from segtool.data import open_dataset
from segtool.evaluation.evaluate import evaluate
from segtool.train.checkpoint import load_segmenter
from segtool.train.config.presets import load_config
from segtool.train.predict import TorchPredictor
from segtool.train.stages.piecewise import PiecewiseTrainer


def vehicles(run, scenes):
    """Share of the pixels of cars and boats that are told right: by the network, after context, after both CRFs."""
    found, dataset = [], open_dataset(f"folder:{scenes}", "val")
    predictor = TorchPredictor(load_segmenter(run)[0])
    for index in range(len(dataset)):
        image, labels = dataset.load(index)
        got = predictor(image)
        here = (labels == 2) | (labels == 3)
        three = (got.unary_labels, got.context_labels, got.labels)
        found.append([(part[here] == labels[here]).mean() for part in three])
    return np.mean(found, axis=0)


def test_context_decides_what_the_dense_crf_cannot(trained, scenes, tmp_path):
    network, context, both = vehicles(trained, scenes)
    assert network < 0.7  # it sees nothing that would tell: half is chance
    assert context > 0.9
    assert both > 0.9
    dense = vehicles_with_dense_crf_alone(trained, scenes, tmp_path)
    assert dense < 0.7


def vehicles_with_dense_crf_alone(trained, scenes, tmp_path):
    out = tmp_path / "dense"
    saved = load_config(str(trained / "config.yaml"), [])
    start = trained / "unary" / "best.safetensors"
    run = PiecewiseTrainer(saved, f"folder:{scenes}", out, ["crf"], start=start, report=lambda line: None)
    run.run()
    found, dataset = [], open_dataset(f"folder:{scenes}", "val")
    predictor = TorchPredictor(load_segmenter(out)[0])
    for index in range(len(dataset)):
        image, labels = dataset.load(index)
        here = (labels == 2) | (labels == 3)
        found.append((predictor(image).labels[here] == labels[here]).mean())
    return float(np.mean(found))


def test_stage_context_leaves_the_network_and_stage_crf_both(trained):
    stages = {name: load_segmenter(trained / name / "best.safetensors")[0] for name in ("unary", "context", "crf")}
    for name, weight in stages["unary"].network.state_dict().items():
        assert torch.equal(weight, stages["context"].network.state_dict()[name])
    for name, weight in stages["context"].context.state_dict().items():
        assert torch.equal(weight, stages["crf"].context.state_dict()[name])
    assert stages["unary"].context is None
    assert stages["context"].crf is None


def test_scores_of_all_three_are_kept(trained, scenes):
    done = json.loads((trained / "state.json").read_text())["done"]
    assert done["context"]["after_context"] is None  # there is nothing after it yet
    assert done["crf"]["after_context"] == done["context"]["after_crf"]
    found = evaluate(TorchPredictor(load_segmenter(trained)[0]), open_dataset(f"folder:{scenes}", "val"))
    assert found.validation_scores().model_dump() == done["crf"]
    assert [*found.columns] == ["before_crf", "after_context", "after_crf"]


def test_confidence_after_context_is_no_surer_than_the_network(trained, scenes):
    """For its accuracy: by so much does mean confidence exceed it. The labels are the same at any temperature."""
    dataset = open_dataset(f"folder:{scenes}", "val")
    segmenter, card = load_segmenter(trained / "context" / "best.safetensors")
    assert card.context.temperature == segmenter.context.temperature

    def excess():
        found = []
        for index in range(len(dataset)):
            image, labels = dataset.load(index)
            got, here = TorchPredictor(segmenter)(image), labels < 4
            for confidence, predicted in ((got.unary_confidence, got.unary_labels), (got.confidence, got.labels)):
                found.append(confidence[here].mean() - (predicted == labels)[here].mean())
        return np.reshape(found, (-1, 2)).mean(0), got.labels

    (network, context), labels = excess()
    assert context < network + 0.005
    segmenter.context.temperature = 20.0
    (_, flat), same = excess()
    assert flat < context - 0.05
    np.testing.assert_array_equal(labels, same)
