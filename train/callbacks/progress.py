"""A bar for each epoch, on a terminal."""

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from segtool.train.distributed import is_first, world
from segtool.train.module import StageModule

_EVERY = 0.2  # seconds between looks at the loss, which a GPU must be waited for


class ProgressBar(Callback):
    """Stage, epoch, batches, images a second, time left of the stage, loss and the last mIoU and accuracy."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._images, self._looked, self._start, self._loss, self._scores = 0, 0.0, 0.0, "", ""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageModule)
        if not (is_first() and sys.stderr.isatty()):
            return
        texts = ("rate", "loss", "scores")
        columns = (BarColumn(24), MofNCompleteColumn(), *(TextColumn(f"{{task.fields[{name}]}}") for name in texts))
        left = (TextColumn("left"), TimeRemainingColumn())
        self._progress = Progress(
            TextColumn("{task.description}"), *columns, *left, console=Console(stderr=True), transient=True
        )
        total = int(trainer.num_training_batches) * (trainer.max_epochs or 1)
        done = int(trainer.num_training_batches) * trainer.current_epoch
        self._task = self._progress.add_task(
            pl_module.stage.name, total=total, completed=done, rate="", loss="", scores=""
        )
        self._progress.start()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._images, self._start = 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, StageModule)
        self._images += len(batch[-1]) * world()
        if self._progress is None:
            return
        now = time.perf_counter()
        if now - self._looked > _EVERY:
            self._looked = now
            loss: Tensor = outputs["loss"]
            self._loss = f"loss {float(loss):.3f}"
        self._progress.update(
            self._task,
            advance=1,
            description=f"{pl_module.stage.name} epoch {trainer.current_epoch + 1}/{trainer.max_epochs}",
            rate=f"{self._images / (now - self._start):.1f} images/s",
            loss=self._loss,
            scores=self._scores,
        )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageModule)
        final = pl_module.validation.scores().final
        self._scores = f"mIoU {final.miou:.3f} accuracy {final.pixel_accuracy:.3f}"

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
