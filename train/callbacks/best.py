"""Which checkpoints are kept: the best, and every so many epochs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from segtool.train.distributed import is_first
from segtool.train.module import StageModule


class KeepBest(Callback):
    """Calls `save` when the validation mIoU (after the CRF where there is one) is the best so far.

    What a stage starts from counts as its epoch 0 if the trainer validates it (Lightning's sanity check).
    It comes before a callback that averages weights: that one swaps them in for as long as validation runs.
    """

    def __init__(self, save: Callable[[], None], report: Callable[[str], None]) -> None:
        self._save, self._report = save, report
        self.best, self.improved = -1.0, False

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageModule)
        miou = pl_module.validation.scores().final.miou
        if miou > self.best and pl_module.is_finite():
            self.best, self.improved = miou, not trainer.sanity_checking
            if is_first():
                self._save()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageModule)
        if self.best < 0:
            return
        if not self.improved:
            self._report(f"{pl_module.stage.name}: no epoch was better than its start, mIoU {self.best:.4f}; kept that")
        elif not pl_module.is_finite():
            self._report(f"{pl_module.stage.name}: kept the best epoch before that, mIoU {self.best:.4f}")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "improved": self.improved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.improved = state_dict["best"], state_dict["improved"]


class KeepEvery(Callback):
    """Calls `save` with `epoch-0005.safetensors` and so on in `folder`."""

    def __init__(self, every: int, folder: Path, save: Callable[[Path], None]) -> None:
        self._every, self._folder, self._save = every, folder, save

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        assert isinstance(pl_module, StageModule)
        if epoch % self._every == 0 and is_first() and pl_module.is_finite():
            self._save(self._folder / f"epoch-{epoch:04d}.safetensors")
