"""The three stages, on a run that a fixture has trained."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from segtool.card import parse_card
from segtool.crf.layer import DenseCRF, KernelWidths
from segtool.data import open_dataset
from segtool.errors import SegtoolError
from segtool.evaluation.evaluate import evaluate
from segtool.train.checkpoint import load_segmenter, save_checkpoint
from segtool.train.checkpoint_file import read_card
from segtool.train.config.presets import load_config
from segtool.train.config.stages import STAGES
from segtool.train.losses import SegmentationLoss
from segtool.train.module import StageModule
from segtool.train.predict import TorchPredictor
from segtool.train.stages.piecewise import PiecewiseTrainer

from ..conftest import TINY
from ..data.layouts import write_folder, write_mask
from .small_run import trainer


def test_run_folder_is_complete(tiny_run):
    state = json.loads((tiny_run / "state.json").read_text())
    assert list(state["done"]) == ["unary", "crf", "joint"]
    stages = [json.loads(line)["stage"] for line in (tiny_run / "history.jsonl").read_text().splitlines()]
    assert stages == ["unary", "unary", "crf", "joint"]


def test_checkpoint_scores_what_its_card_says(tiny_run):
    segmenter, card = load_segmenter(tiny_run)
    scores = evaluate(TorchPredictor(segmenter), open_dataset("synthetic:64", "val")).validation_scores()
    assert scores.after_crf.miou == pytest.approx(card.validation.after_crf.miou, abs=1e-3)
    assert scores.images == 40


def test_crf_stage_leaves_the_network_alone(tiny_run):
    before, _ = load_segmenter(tiny_run / "unary" / "best.safetensors")
    after, card = load_segmenter(tiny_run / "crf" / "best.safetensors")
    for (name, a), b in zip(before.network.state_dict().items(), after.network.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    weights = torch.tensor(card.crf.bilateral_compatibility)
    assert not torch.equal(weights, weights[0, 0] * torch.eye(5)), "the compatibilities were learned"


def _last_state(run, stage):
    state = torch.load(run / stage / "last.ckpt", weights_only=False)["state_dict"]
    return {k.removeprefix("segmenter."): v for k, v in state.items()}


def test_joint_stage_trains_both(tiny_run):
    """Network and CRF have moved by its end, whether or not that was for the better."""
    start, end = load_segmenter(tiny_run / "crf" / "best.safetensors")[0], _last_state(tiny_run, "joint")
    for part in ("network", "crf"):
        moved = [n for n, p in start.named_parameters() if n.startswith(part) and not torch.equal(p, end[n])]
        assert len(moved) > 2, part


@pytest.mark.parametrize("compatibility", ["full", "per-class", "per-kernel"])
def test_joint_training_learns_what_stage_2_learned(tiny_run, tmp_path, compatibility):
    segmenter, card = load_segmenter(tiny_run / "crf" / "best.safetensors")
    widths = KernelWidths(1.3, 17.0, 9.0)
    segmenter.crf = DenseCRF(5, widths, (0.4, 1.1), compatibility=compatibility, learn_widths=True)
    save_checkpoint(tmp_path / "crf.safetensors", segmenter, card.model_copy(update={"crf": segmenter.crf.to_card()}))
    config = load_config("quickstart", TINY)
    start = tmp_path / "crf.safetensors"
    trainer = PiecewiseTrainer(config, "synthetic:64", tmp_path / "run", ["joint"], start=start, report=lambda _: None)
    trainer.prepare()
    module = StageModule("joint", trainer._start_of(STAGES["joint"]), config, trainer.criterion)
    expected = dict(segmenter.crf.named_parameters())
    found = dict(module.segmenter.crf.named_parameters())
    assert {name: p.shape for name, p in found.items()} == {name: p.shape for name, p in expected.items()}
    assert all(torch.equal(p, expected[name]) for name, p in found.items())  # to the last bit, logarithms too
    loss = module.loss((255 * torch.rand(1, 3, 64, 64), torch.randint(0, 5, (1, 64, 64))))
    loss.backward()
    assert all(bool(p.grad.any()) for p in found.values())


def _batches_seen(state):
    return {int(v) for k, v in state.items() if k.endswith("num_batches_tracked")}


def test_batch_norm_learns_in_the_first_stage_only(tiny_run):
    """Its running statistics move there, and stay as they are when the CRF is trained and in joint training."""
    batches = 160 // 8
    assert _batches_seen(_last_state(tiny_run, "unary")) == {2 * batches}  # two epochs
    best = _batches_seen(load_segmenter(tiny_run / "unary" / "best.safetensors")[0].state_dict())
    assert _batches_seen(_last_state(tiny_run, "crf")) == _batches_seen(_last_state(tiny_run, "joint")) == best


@pytest.mark.parametrize("frozen", [True, False])
def test_joint_stage_freezes_batch_norm_if_told(tiny_run, frozen):
    segmenter, _ = load_segmenter(tiny_run / "crf" / "best.safetensors")
    config = load_config("quickstart", [*TINY, f"joint.freeze_batch_norm={str(frozen).lower()}"])
    module = StageModule("joint", segmenter, config, SegmentationLoss(config.loss, np.full(5, 0.2), 255))
    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert all(m.training != frozen for m in norms)
    assert all(p.requires_grad for m in norms for p in m.parameters())
    assert module.segmenter.network.training


@pytest.mark.slow
def test_a_stage_that_makes_it_worse_keeps_its_start(tmp_path):
    said = []
    config = load_config("quickstart", [*TINY, "joint.learning_rate=30", "joint.gradient_clip=0"])
    stages = ["unary", "crf", "joint"]
    PiecewiseTrainer(config, "synthetic:64", tmp_path / "run", stages, report=said.append).run()
    assert any(line.startswith("joint: no epoch was better than its start, mIoU ") for line in said)
    before, after = (load_segmenter(tmp_path / "run" / s / "best.safetensors")[0].state_dict() for s in stages[1:])
    for name, weights in before.items():
        assert torch.equal(weights, after[name]), name
    assert not torch.equal(_last_state(tmp_path / "run", "joint")["crf.unary_scale"], before["crf.unary_scale"])
    assert any(line.startswith("joint: diverged in epoch 1") for line in said)


def test_card_tells_the_training_data(tiny_run):
    card = read_card(tiny_run / "model.safetensors")
    assert (card.trained_on.dataset, card.trained_on.image_count) == ("synthetic", 160)
    assert card.config["unary"]["epochs"] == 2
    assert parse_card(card.to_json(), "x") == card


def test_joint_training_starts_without_the_temperature_of_stage_2(tiny_run, tmp_path):
    assert load_segmenter(tiny_run / "crf" / "best.safetensors")[0].crf.temperature != 1
    config, start = load_config("quickstart", TINY), tiny_run / "crf" / "best.safetensors"
    trainer = PiecewiseTrainer(config, "synthetic:64", tmp_path / "run", ["joint"], start=start, report=lambda _: None)
    trainer.prepare()
    assert trainer._start_of(STAGES["joint"]).crf.temperature == 1
    assert load_segmenter(tiny_run)[0].crf.temperature != 1  # the finished one has its own


def test_stage_without_the_one_before_it(tmp_path):
    with pytest.raises(SegtoolError, match="needs stage unary"):
        trainer(tmp_path / "run", stages=["crf"])
    assert not (tmp_path / "run").exists()


def test_training_that_diverges_stops(tmp_path):
    overrides = ["unary.learning_rate=1e30", "unary.schedule=constant", "unary.epochs=9"]
    with pytest.raises(SegtoolError, match=r"stage unary diverged before .* a lower unary.learning_rate"):
        trainer(tmp_path / "run", *overrides).run()
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert len(rows) < 9
    assert "NaN" not in (tmp_path / "run" / "history.jsonl").read_text()


def test_a_stage_that_diverges_keeps_its_best_epoch_before_that(tmp_path, monkeypatch):
    """And the run goes on with it."""
    forward, calls = SegmentationLoss.forward, []

    def later_no_number(self, *values):
        calls.append(0)
        return forward(self, *values) * (float("nan") if len(calls) > 20 * 2 else 1.0)

    monkeypatch.setattr(SegmentationLoss, "forward", later_no_number)
    said = []
    config = load_config("quickstart", [*TINY, "unary.epochs=5", "data.crop=[32, 32]"])
    PiecewiseTrainer(config, "synthetic:64", tmp_path / "run", ["unary"], report=said.append).run()
    assert any(line.startswith("unary: diverged in epoch 3") for line in said)
    (kept,) = [line for line in said if line.startswith("unary: kept the best epoch before that, mIoU ")]
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert kept.endswith(f"{max(row['before_crf']['miou'] for row in rows[:2]):.4f}")
    assert all(weights.isfinite().all() for weights in load_segmenter(tmp_path / "run")[0].parameters())


def test_masks_without_labels(tmp_path, photo):
    root = tmp_path / "data"
    write_folder(root, photo)
    for mask in (root / "train" / "masks").iterdir():
        write_mask(mask, np.full(photo.shape[:2], 255))
    with pytest.raises(SegtoolError, match="no labels in the training masks"):
        trainer(tmp_path / "run", data=f"folder:{root}")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_then_resume(tmp_path):
    """Interrupted after the first epoch, resumed to the end: no epoch is lost and none is repeated."""
    out = tmp_path / "run"
    settings = [*TINY, "unary.epochs=6", "unary.validate_every=2", "data.crop=[32, 32]"]
    command = [sys.executable, "-m", "segtool", "train", "--preset", "quickstart", "--data", "synthetic:32"]
    command += ["--out", str(out), "--stages", "unary", *(x for s in settings for x in ("--set", s))]
    # A folder without sources, so that the installed package is what runs.
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # What a shell starts in the background ignores Ctrl-C, and hands that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if "epoch 2/6" in line:
            process.send_signal(signal.SIGINT)
            break
    seen += process.stdout.read()
    assert process.wait(timeout=60) == 130, seen
    assert "--resume" in seen
    assert not (out / "model.safetensors").exists()
    result = subprocess.run([*command, "--resume"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    epochs = [json.loads(line)["epoch"] for line in (out / "history.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3, 4, 5, 6]
    assert load_segmenter(out)[1].validation is not None
    assert not list(Path(out).rglob("*.tmp*"))


def test_folder_dataset_trains(tmp_path, photo):
    """What the README tells newcomers to do with their own data."""
    root = tmp_path / "data"
    write_folder(root, photo)
    card = trainer(tmp_path / "run", "unary.epochs=1", data=f"folder:{root}", stages=["unary", "crf", "joint"]).run()
    assert card.names == ["dark", "light"]
    assert card.validation.after_crf is not None
