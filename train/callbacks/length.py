"""A stage that is resumed with more epochs than it was begun with."""

from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

# Of a scheduler's state, how far it is; all else follows from the length of the stage.
_PROGRESS = ("last_epoch", "_step_count", "_last_lr")
_OF_PLATEAU = "num_bad_epochs"  # only a schedule that has no length has that


class Length(Callback):
    """Makes the schedule of a longer stage that of the new length, from where the stage is.

    Args:
        epochs: of the stage now.
        report: told when they are not those that the stage was begun with.
    """

    def __init__(self, epochs: int, report: Callable[[str], None]) -> None:
        self._epochs, self._report, self._begun_with = epochs, report, epochs
        self._fresh: list[list[dict[str, Any]]] = []  # the optimizers' groups before a checkpoint is put into them

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self._epochs}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["callbacks"].get(self.state_key, {})
        self._begun_with = state.get("epochs", self._epochs)
        if self._begun_with != self._epochs:
            checkpoint["lr_schedulers"] = [_without_length(state) for state in checkpoint["lr_schedulers"]]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._fresh = [[dict(group, params=[]) for group in o.param_groups] for o in trainer.optimizers]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._begun_with == self._epochs:
            return
        # A stage of few steps has no schedule, and leaves groups without what the schedule of a longer one needs.
        for optimizer, groups in zip(trainer.optimizers, self._fresh, strict=True):
            for group, fresh in zip(optimizer.param_groups, groups, strict=True):
                group.update({key: value for key, value in fresh.items() if key not in group})
        for config in trainer.lr_scheduler_configs:
            _replay(config.scheduler, trainer.global_step)
        self._report(
            f"goes on from epoch {trainer.current_epoch} to {self._epochs} instead of {self._begun_with}; "
            f"from here the learning rate is that of a stage of {self._epochs} epochs"
        )


def _without_length(state: dict[str, Any]) -> dict[str, Any]:
    return state if _OF_PLATEAU in state else {key: state[key] for key in _PROGRESS if key in state}


def _replay(scheduler: Any, done: int) -> None:
    """The rate where a schedule of the new length would be now: some know only how to go on from the last one.

    Args:
        done: optimizer steps, for a schedule that was not there yet.
    """
    if hasattr(scheduler, _OF_PLATEAU):
        return
    steps, scheduler.last_epoch = scheduler.last_epoch or done, 0
    for group in scheduler.optimizer.param_groups:
        group["lr"] = group["initial_lr"]
    for _ in range(steps):
        scheduler.step()
