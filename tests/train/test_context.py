"""Stage `context`: learned where only something distant tells two look-alike classes apart, kept, and resumed."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from segtool.data import open_dataset
from segtool.errors import SegtoolError
from segtool.evaluation.evaluate import evaluate
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

NAMES = ["land", "sea", "car", "boat"]
LOCAL = '''
from torch import nn


class Local(nn.Module):
    """Sees 5 pixels around each."""

    def __init__(self, classes):
        super().__init__()
        first, second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.backbone = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        self.segmentation_head = nn.Conv2d(16, classes, 1)

    def forward(self, x):
        return self.segmentation_head(self.backbone(x))


def factory(classes):
    return Local(classes)
'''


def scene(random):
    """Green land or blue sea at the bottom, and above it, on white, a grey square: a car over land, a boat over sea.

    Neither colour nor shape nor anything within 16 pixels of the square tells which it is.
    """
    kind = int(random.integers(2))
    image, labels = np.full((64, 96, 3), 255), np.full((64, 96), 255, np.uint8)
    image[44:], labels[44:] = ((40, 160, 60), (40, 60, 200))[kind], kind
    y, x = int(random.integers(0, 13)), int(random.integers(0, 80))
    image[y : y + 16, x : x + 16], labels[y : y + 16, x : x + 16] = 128, 2 + kind
    noise = random.normal(0, 6, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder dataset of scenes, and the file of a network that sees 5 pixels."""
    root, random = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    for split, count in (("train", 32), ("val", 16)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            image, labels = scene(random)
            Image.fromarray(image).save(root / split / "images" / f"{number:02d}.png")
            Image.fromarray(labels).save(root / split / "masks" / f"{number:02d}.png")
    (root / "classes.yaml").write_text(json.dumps({"classes": NAMES}))
    (root / "local.py").write_text(LOCAL)
    return root


@pytest.fixture(scope="module")
def trained(scenes):
    """A run of stages unary, context and crf on it."""
    settings = [
        f"model={{source: 'python:{scenes / 'local.py'}:factory'}}", "data.crop=[64, 96]", "data.scale=[1.0, 1.0]",
        "data.color_jitter=0", "unary.epochs=12", "unary.validate_every=12", "unary.learning_rate=0.01",
        "context.epochs=24", "context.validate_every=12", "context.radii=[2, 4, 6]", "context.hidden=16",
        "context.tables=4", "crf.epochs=2", "crf.crop=[64, 96]", "crf.search_images=4", "report.write=false",
    ]  # fmt: skip
    out = scenes / "run"
    config = load_config("quickstart", settings)
    PiecewiseTrainer(config, f"folder:{scenes}", out, parse_stages("unary,context,crf"), report=lambda line: None).run()
    return out


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


def test_context_decides_what_the_dense_crf_cannot(trained, scenes):
    network, context, both = vehicles(trained, scenes)
    assert network < 0.7  # it sees nothing that would tell: half is chance
    assert context > 0.9
    assert both > 0.9
    dense = vehicles_with_dense_crf_alone(trained, scenes)
    assert dense < 0.7


def vehicles_with_dense_crf_alone(trained, scenes):
    out = scenes / "dense"
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


def test_joint_training_moves_the_potentials_too(trained, scenes):
    out = scenes / "joint"
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
