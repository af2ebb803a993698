"""One line an epoch: history.jsonl, the same as history.csv, and what is told to whoever waits."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from segtool.evaluation.curves import read_history
from segtool.files import atomic_path, write_text
from segtool.train.distributed import gathered, is_first, world
from segtool.train.module import StageModule


class History(Callback):
    """Appends one JSON line an epoch to `path` and hands a readable one to `report`."""

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self._path, self._report = path, report
        self._losses: list[Tensor] = []
        self._images, self._start, self._trained, self._validated = 0, 0.0, 0.0, False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drops the rows of epochs that an interrupted run finished but did not save."""
        assert isinstance(pl_module, StageModule)
        if not self._path.is_file() or not is_first():
            return
        kept = [
            row for row in read_history(self._path)
            if row["stage"] != pl_module.stage.name or row["epoch"] <= trainer.current_epoch
        ]  # fmt: skip
        write_text(self._path, "".join(json.dumps(row) + "\n" for row in kept))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._losses, self._images, self._start, self._validated = [], 0, time.perf_counter(), False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._losses.append(outputs["batch_loss"])  # read at the end: a GPU need not be waited for
        self._images += len(batch[-1]) * world()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validated = True
        self._trained = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageModule)
        losses = [loss for process in gathered([float(loss) for loss in self._losses]) for loss in process]
        finite = [loss for loss in losses if math.isfinite(loss)]  # mixed precision leaves others out of its steps
        if len(finite) < len(losses):
            self._stop_if_diverged(trainer, pl_module)
        if not is_first():
            return
        now = time.perf_counter()
        training = (self._trained if self._validated else now) - self._start
        row: dict[str, Any] = {
            "stage": pl_module.stage.name,
            "epoch": trainer.current_epoch + 1,
            "loss": round(sum(finite) / len(finite), 5) if finite else None,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": round(now - self._start, 1),
            "images_per_second": round(self._images / max(training, 1e-9), 2),
        }
        if self._validated:
            for name, scores in pl_module.validation.scores()._asdict().items():
                row[name] = scores and scores.model_dump()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        _write_csv(self._path)
        self._report(_line(row, pl_module.stage_config.epochs))

    def _stop_if_diverged(self, trainer: L.Trainer, module: StageModule) -> None:
        if not module.is_finite():
            trainer.should_stop = True
            self._report(
                f"{module.stage.name}: diverged in epoch {trainer.current_epoch + 1}, no number is left; stopped"
            )


def _write_csv(path: Path) -> None:
    with atomic_path(path.with_suffix(".csv")) as temporary:
        pd.json_normalize(read_history(path), sep="_").to_csv(temporary, index=False)


def _loss(row: dict[str, Any]) -> str:
    return "-" if row["loss"] is None else f"{row['loss']:.4f}"


def _line(row: dict[str, Any], epochs: int) -> str:
    text = f"{row['stage']:7s} epoch {row['epoch']}/{epochs}  loss {_loss(row)}  {row['seconds']:.0f} s"
    text += f"  {row['images_per_second']:.1f} images/s"
    last = "context" if row["stage"] == "context" else "CRF"
    for key, name in (("before_crf", "unary"), ("after_context", "context"), ("after_crf", last)):
        if scores := row.get(key):
            text += f"  {name}: mIoU {scores['miou']:.4f}, accuracy {scores['pixel_accuracy']:.4f}"
            text += f", boundary F {scores['boundary_f']:.4f}"
    return text
