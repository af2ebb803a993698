"""What happens beside training: keeping the best, one line an epoch, a history file."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from segtool.files import write_text
from segtool.train.stage import StageModule


class KeepBest(Callback):
    """Calls `save` when the validation mIoU (after the CRF where there is one) is the best so far."""

    def __init__(self, save: Callable[[], None]) -> None:
        self._save, self.best = save, -1.0

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageModule)
        if trainer.sanity_checking:
            return
        before, after = pl_module.scores()
        miou = (after or before).miou
        if miou > self.best:
            self.best = miou
            self._save()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


class History(Callback):
    """Appends one JSON line an epoch to history.jsonl and hands the same to `report`."""

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self._path, self._report = path, report
        self._loss, self._steps, self._start, self._validated = 0.0, 0, 0.0, False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drops the rows of epochs that an interrupted run finished but did not save."""
        assert isinstance(pl_module, StageModule)
        if not self._path.is_file():
            return
        rows = [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
        kept = [r for r in rows if r["stage"] != pl_module.stage or r["epoch"] <= trainer.current_epoch]
        write_text(self._path, "".join(json.dumps(row) + "\n" for row in kept))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._loss, self._steps, self._start, self._validated = 0.0, 0, time.perf_counter(), False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._loss += float(outputs["loss"])
        self._steps += 1

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validated = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageModule)
        row: dict[str, Any] = {
            "stage": pl_module.stage,
            "epoch": trainer.current_epoch + 1,
            "loss": round(self._loss / max(self._steps, 1), 5),
            "seconds": round(time.perf_counter() - self._start, 1),
        }
        if self._validated:
            before, after = pl_module.scores()
            row["before_crf"] = before.model_dump()
            row["after_crf"] = after.model_dump() if after else None
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._report(_line(row, pl_module.stage_config.epochs))


def _line(row: dict[str, Any], epochs: int) -> str:
    text = f"{row['stage']:7s} epoch {row['epoch']}/{epochs}  loss {row['loss']:.4f}  {row['seconds']:.0f} s"
    for key, name in (("before_crf", "unary"), ("after_crf", "CRF")):
        if row.get(key):
            text += f"  {name}: mIoU {row[key]['miou']:.4f}, boundary F {row[key]['boundary_f']:.4f}"
    return text
