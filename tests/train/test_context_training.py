"""What stage `context` and those after it train, start from, and show."""

import json
import shutil

import numpy as np
import pytest
import torch

from segtool.data import open_dataset
from segtool.errors import SegtoolError
from segtool.train.checkpoint import load_segmenter
from segtool.train.config.presets import load_config
from segtool.train.config.stages import parse_stages
from segtool.train.config.views import Views
from segtool.train.losses import SegmentationLoss
from segtool.train.module import StageModule
from segtool.train.predict import TorchPredictor
from segtool.train.stages.piecewise import PiecewiseTrainer
from segtool.train.tuning import CrfTuner
from segtool.train.views import view_logits

from ..conftest import TINY
from .small_run import trainer


def test_joint_training_moves_the_potentials_too(trained, scenes, tmp_path):
    out = tmp_path / "joint"
    saved = load_config(str(trained / "config.yaml"), ["joint.epochs=1", "joint.validate_every=1", "data.batch_size=2"])
    PiecewiseTrainer(saved, f"folder:{scenes}", out, ["joint"], start=trained, report=lambda line: None).run()
    state = torch.load(out / "joint" / "last.ckpt", weights_only=False)["state_dict"]
    before = load_segmenter(trained)[0].state_dict()
    for name in ("context.scale", "context.potential.first.weight", "network.body.segmentation_head.weight"):
        assert not torch.equal(state[f"segmenter.{name}"], before[name]), name


def test_training_the_network_with_the_potentials(scenes, trained):
    """context.train_network: the sum of both losses."""
    saved = load_config(str(trained / "config.yaml"), ["context.train_network=true", "context.epochs=1"])
    segmenter = load_segmenter(trained / "context" / "best.safetensors")[0]
    weight = np.ones(4)
    module = StageModule("context", segmenter, saved, SegmentationLoss(saved.loss, weight, 255))
    crops = torch.zeros(2, 3, 64, 96), torch.zeros(2, 64, 96, dtype=torch.long)
    torch.manual_seed(0)
    together = module.loss(crops)
    together.backward()
    assert all(p.grad is not None for p in segmenter.network.parameters())
    alone = module.criterion(segmenter.unary(crops[0]), crops[1])
    fixed = StageModule("context", segmenter, load_config(str(trained / "config.yaml"), []), module.criterion)
    features = segmenter.context.places(segmenter.with_features(crops[0])[1]).detach()
    torch.manual_seed(0)
    torch.testing.assert_close(together, alone + fixed.loss((features, crops[1])))


def test_edges_count_as_their_classes_do(trained):
    config = load_config(str(trained / "config.yaml"), [])
    criterion = SegmentationLoss(config.loss, np.array([1.0, 2.0, 4.0, 8.0]), 255)
    module = StageModule("context", load_segmenter(trained / "context" / "best.safetensors")[0], config, criterion)
    ends = torch.tensor([0, 1, 3]), torch.tensor([0, 2, 0])
    assert module._edge_weight(*ends).tolist() == [1.0, 3.0, 4.5]


def test_a_longer_stage_context_goes_on(tmp_path):
    settings = ["context.validate_every=1", "context.radii=[1, 2]", "context.edges=256"]
    for epochs, resume in ((1, False), (2, True)):
        trainer(tmp_path, *settings, f"context.epochs={epochs}", stages=["unary", "context"], resume=resume).run()
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["epoch"]) for row in rows][-2:] == [("context", 1), ("context", 2)]
    assert load_segmenter(tmp_path)[1].context is not None


@pytest.mark.parametrize("interrupted", [False, True])
def test_context_cannot_be_slipped_under_a_crf_that_was_begun(tiny_run, tmp_path, interrupted):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    if interrupted:  # after the search, in stage crf
        state = json.loads((run / "state.json").read_text())
        state["done"] = {"unary": state["done"]["unary"]}
        (run / "state.json").write_text(json.dumps(state))
        shutil.rmtree(run / "crf")
        shutil.rmtree(run / "joint")
    with pytest.raises(SegtoolError, match="stage crf was begun without stage context"):
        PiecewiseTrainer(
            load_config("quickstart", TINY), "synthetic:64", run, parse_stages("unary,context,crf,joint"), resume=True
        ).prepare()


def test_all_views_of_an_image_reach_both_crfs(trained, scenes):
    """Windows and mirror images: the probabilities before and after context are averaged alike, and the dense CRF comes
    once, on what is after."""
    segmenter, views = load_segmenter(trained)[0], Views(48, 32, (1.0,), True)
    image = open_dataset(f"folder:{scenes}", "val").load(0).image
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        unary, context = (
            view_logits(lambda x, part=part: segmenter.contextual(x)[part], pixels, views) for part in (0, 1)
        )
        final = segmenter.crf(context, pixels)
    got = TorchPredictor(segmenter, views=views)(image)
    for labels, logits in ((got.unary_labels, unary), (got.context_labels, context), (got.labels, final)):
        np.testing.assert_array_equal(labels, logits.argmax(1)[0].numpy())


def test_the_tuner_of_the_demo_keeps_what_comes_before_the_dense_crf(trained, scenes):
    segmenter, card = load_segmenter(trained)
    image = open_dataset(f"folder:{scenes}", "val").load(1).image
    expected, got = TorchPredictor(segmenter)(image), CrfTuner(segmenter)(image, card.crf)
    for name in ("labels", "unary_labels", "context_labels"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))


def test_edges_learn_in_single_precision_beside_a_network_in_half(trained):
    config = load_config(str(trained / "config.yaml"), ["context.train_network=true"])
    segmenter = load_segmenter(trained / "context" / "best.safetensors")[0]
    module = StageModule("context", segmenter, config, SegmentationLoss(config.loss, np.ones(4), 255))
    crops = torch.rand(2, 3, 64, 96) * 255, torch.randint(0, 4, (2, 64, 96))
    losses = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(module.loss(crops))
    assert losses[1].dtype == torch.float32
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=0.02)


@pytest.mark.parametrize(("stages", "left_out"), [("context,joint", "context"), ("unary,joint", "unary")])
def test_a_stage_that_would_leave_out_what_was_trained_before_it_is_refused(
    trained, tmp_path, scenes, stages, left_out
):
    saved = load_config(str(trained / "config.yaml"), [])
    run = PiecewiseTrainer(saved, f"folder:{scenes}", tmp_path / "run", parse_stages(stages), start=trained)
    with pytest.raises(SegtoolError, match=f"stage joint does not start from stage {left_out}, but from stage crf"):
        run.prepare()


def test_a_stride_that_does_not_fit_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(SegtoolError, match="stride of 6 pixels is no multiple of the features', 4"):
        trainer(tmp_path / "run", "context.stride=6", stages=["unary", "context"])
    assert not (tmp_path / "run").exists()
