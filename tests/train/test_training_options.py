"""What a user can ask of training besides the stages: averages, early ends, pictures, logs, batch sizes."""

import json

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from segtool.data.statistics import class_weights, statistics
from segtool.errors import SegtoolError
from segtool.evaluation.curves import read_history, training_curves
from segtool.input_contract import InputContract
from segtool.train.checkpoint import load_segmenter
from segtool.train.config.presets import load_config
from segtool.train.losses import SegmentationLoss
from segtool.train.module import StageModule
from segtool.train.networks import Segmenter
from segtool.train.stages.piecewise import PiecewiseTrainer

from ..conftest import TINY

FAST = [*TINY, "data.crop=[32, 32]"]


def trainer(out, *overrides, stages=("unary",), data="synthetic:32", **more):
    said = []
    config = load_config("quickstart", [*FAST, *overrides])
    found = PiecewiseTrainer(config, data, out, list(stages), report=said.append, **more)
    found.prepare()
    return found, said


def test_average_of_the_weights_is_what_is_kept(tmp_path):
    """Against the average computed by hand from the weights after every step."""
    run, _ = trainer(tmp_path / "run", "unary.ema=0.8", "unary.epochs=1", "unary.validate_every=1")
    weights = []
    original = StageModule.on_train_batch_end

    def remember(module, *arguments):
        weights.append(module.segmenter.network.segmentation_head[0].weight.detach().clone())

    StageModule.on_train_batch_end = remember
    try:
        run.run()
    finally:
        StageModule.on_train_batch_end = original
    average = weights[0]
    for step, weight in enumerate(weights[1:], start=1):
        decay = min(0.8, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    kept = load_segmenter(tmp_path / "run")[0].network.segmentation_head[0].weight
    torch.testing.assert_close(kept, average)
    assert not torch.allclose(kept, weights[-1])
    weights = class_weights(run.config.loss.class_weights, statistics(run.train_set))
    assert torch.equal(run.criterion.class_weight, torch.tensor(weights).float())


@pytest.mark.slow
def test_training_stops_early_when_nothing_gets_better(tmp_path):
    settings = ["unary.epochs=30", "unary.validate_every=1", "unary.early_stopping=2", "unary.learning_rate=1e-12"]
    run, _ = trainer(tmp_path / "run", *settings)
    run.run()
    rows = [json.loads(line) for line in run.folder.history.read_text().splitlines()]
    mious = [row["before_crf"]["miou"] for row in rows]
    assert len(rows) < 15
    assert max(mious[-2:]) <= max(mious[:-2])


@pytest.mark.slow
def test_checkpoints_that_are_all_kept(tmp_path):
    run, _ = trainer(tmp_path / "run", "unary.epochs=5", "unary.checkpoint_every=2")
    run.run()
    kept = sorted(path.name for path in (tmp_path / "run" / "unary").glob("epoch-*"))
    assert kept == ["epoch-0002.safetensors", "epoch-0004.safetensors"]
    assert load_segmenter(tmp_path / "run" / "unary" / kept[0])[1].names


@pytest.mark.slow
def test_snapshots_show_the_same_images_and_become_a_gif(tmp_path):
    run, _ = trainer(
        tmp_path / "run", "snapshots={every: 2, images: 3}", "unary.epochs=5", "data.crop=[64, 64]",
        stages=("unary", "crf"), data="synthetic:64",
    )  # fmt: skip
    run.run()
    names = sorted(path.name for path in (tmp_path / "run" / "snapshots").iterdir())
    unary = [f"unary_epoch_{epoch:04d}.png" for epoch in (0, 2, 4, 5)]
    assert names == ["crf_epoch_0000.png", "crf_epoch_0001.png", *unary]
    sheets = [np.array(Image.open(tmp_path / "run" / "snapshots" / name)) for name in unary]
    columns = sheets[0].shape[1] // 3
    for sheet in sheets[1:]:  # image and truth stay, labels change
        assert np.array_equal(sheet[20:, : 2 * columns], sheets[0][20:, : 2 * columns])
    assert not np.array_equal(sheets[-1][20:, 2 * columns :], sheets[0][20:, 2 * columns :])
    with Image.open(tmp_path / "run" / "progress.gif") as gif:
        assert gif.n_frames == 6
        assert gif.size[0] == columns * 4  # the CRF stage has one more


def test_logs_can_be_read_by_tensorboard_and_pandas(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, said = trainer(tmp_path / "run", "unary.epochs=2", "unary.validate_every=1")
    run.run()
    events = EventAccumulator(str(tmp_path / "run" / "logs" / "unary"))
    events.Reload()
    rows = [json.loads(line) for line in run.folder.history.read_text().splitlines()]
    logged = [event.value for event in events.Scalars("unary/unary_miou")]
    assert logged == pytest.approx([row["before_crf"]["miou"] for row in rows], abs=1e-6)
    assert {"unary/loss", "lr-AdamW/network", "unary/unary_boundary_f"} <= set(events.Tags()["scalars"])
    table = pd.read_csv(run.folder.history.with_suffix(".csv"))
    assert table["loss"].tolist() == [row["loss"] for row in rows]
    assert table["before_crf_miou"].tolist() == pytest.approx(logged, abs=1e-6)
    written = run.folder.log_file.read_text()
    assert all(line in written for line in said if "epoch" in line)
    assert any("images/s" in line and "accuracy" in line for line in said)
    assert (tmp_path / "run" / "curves.png").stat().st_size > 5000


def test_an_epoch_without_a_finite_loss(tmp_path, monkeypatch):
    forward = SegmentationLoss.forward
    monkeypatch.setattr(SegmentationLoss, "forward", lambda self, *values: forward(self, *values) * float("nan"))
    run, said = trainer(tmp_path / "run", "unary.epochs=2")
    with pytest.raises(SegtoolError, match="diverged"):
        run.run()
    history = tmp_path / "run" / "history.jsonl"
    (row,) = read_history(history)
    assert row["loss"] is None
    assert any("epoch 1/2  loss -  " in line for line in said)
    history.write_text("".join(json.dumps(row | {"loss": loss}) + "\n" for loss in (1.0, None, 0.5)))
    drawn = training_curves(history).axes[0].lines[0].get_ydata()
    np.testing.assert_array_equal(np.asarray(drawn, dtype=float), [1.0, np.nan, 0.5])


def test_a_logger_that_is_not_installed_is_refused_first(tmp_path, monkeypatch):
    from segtool.train import loggers

    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(SegtoolError, match="wandb is not installed: loggers .pip install wandb"):
        trainer(tmp_path / "run", "loggers=[wandb]")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_report_at_the_end_explains_failures(tmp_path):
    run, _ = trainer(tmp_path / "run", "report={write: true, failures: 0.9}")
    run.run()
    folder = tmp_path / "run" / "evaluation"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["value"]["miou"] == pytest.approx(run.state.done["unary"].before_crf.miou)
    failures = pd.read_csv(folder / "failures" / "failures.csv")
    assert (failures["miou"] < 0.9).all()
    assert {"confusion.png", "IoU_by_class.png", "training.png"} <= {p.name for p in (folder / "plots").iterdir()}
    assert "<svg" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_automatic_batch_size_stays_that_of_the_first_start(tmp_path, monkeypatch):
    run, _ = trainer(tmp_path / "run", "data.batch_size=auto", "unary.epochs=1")
    run.run()
    sizes = json.loads((tmp_path / "run" / "state.json").read_text())["batch_sizes"]
    assert list(sizes) == ["unary"]
    assert sizes["unary"] in (4, 8, 16)
    from segtool.train.stages import batch_size

    monkeypatch.setattr(batch_size, "choose_batch_size", lambda *a: pytest.fail("chosen again"))
    again, _ = trainer(tmp_path / "run", "data.batch_size=auto", "unary.epochs=1", resume=True, stages=("unary", "crf"))
    again.run()


def test_plateau_and_early_stopping_look_at_the_logged_miou():
    config = load_config("quickstart", ["unary.schedule=plateau", "unary.epochs=1"])
    module = StageModule(
        "unary", Segmenter(torch.nn.Conv2d(3, 2, 1), InputContract(stride=1)), config,
        SegmentationLoss(config.loss, np.full(2, 0.5), 255),
    )  # fmt: skip
    images, labels = torch.rand(4, 3, 16, 16) * 255, torch.randint(0, 2, (4, 16, 16))
    fit = L.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    fit.fit(
        module,
        DataLoader(TensorDataset(images, labels), 2),
        DataLoader(TensorDataset(images.to(torch.uint8), labels.to(torch.uint8)), 1),
    )
    assert float(fit.callback_metrics["miou"]) == pytest.approx(module.validation.scores()[0].miou)


@pytest.mark.slow
def test_compiled_network_trains_and_is_saved_like_any_other(tmp_path):
    losses = []
    for name, compile_it in (("plain", "false"), ("compiled", "true")):
        model = "model={source: segtool, architecture: UNet, options: {width: 4}}"
        run, _ = trainer(tmp_path / name, model, f"compile={compile_it}", "unary.epochs=1")
        run.run()
        load_segmenter(tmp_path / name)
        losses.append(json.loads(run.folder.history.read_text().splitlines()[0])["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
