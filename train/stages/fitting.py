"""Fitting one stage with Lightning."""

import logging
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    WeightAveraging,
)
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch.utils.data import DataLoader

from segtool.errors import SegtoolError
from segtool.files import ensure_folder
from segtool.train import distributed
from segtool.train.callbacks import History, KeepBest, KeepEvery, Length, ProgressBar, Snapshots, UnfreezeEncoder
from segtool.train.config.settings import TrainConfig, UnaryStageConfig
from segtool.train.config.stages import Stage
from segtool.train.module import StageModule
from segtool.train.optimizers import moving_average, validation_rhythm
from segtool.train.run_folder import LAST, RunFolder
from segtool.train.stages.training_state import WholeFile, resume_from

Save = Callable[[Path], None]


def fit_stage(
    module: StageModule,
    config: TrainConfig,
    folder: RunFolder,
    train: DataLoader,
    val: DataLoader,
    *,
    trained: bool,
    loggers: list[Logger],
    save: Save,
    report: Callable[[str], None],
    snapshots: Snapshots | None = None,
) -> None:
    """Trains a stage, from where an interrupted run stopped if it did.

    Args:
        trained: whether it starts from trained weights; then these are kept unless an epoch is better.
        save: writes the segmenter as it is now to a file.
        report: told one line an epoch.

    Raises:
        KeyboardInterrupt: on Ctrl-C; the last finished epoch is safe.
    """
    module.segmenter.to(memory_format=torch.channels_last)
    context = module.segmenter.context
    if config.compile and (context is None or context.card.reads_logits):
        module.segmenter.network.compile()
    elif config.compile:
        report(f"{module.stage.name}: not compiled, for the contextual CRF reads what is inside the network")
    checkpoint = resume_from(ensure_folder(folder.path / module.stage.name))
    trainer = _trainer(module, config, _callbacks(module, config, folder, save, report, snapshots), trained, loggers)
    fit_interruptible(trainer, module, train, val, checkpoint)
    module.segmenter.cpu()


def _trainer(
    module: StageModule, config: TrainConfig, callbacks: list[Callback], trained: bool, loggers: list[Logger]
) -> L.Trainer:
    stage = module.stage_config
    freezes = isinstance(stage, UnaryStageConfig) and stage.freeze_encoder > 0
    return L.Trainer(
        max_epochs=stage.epochs,
        callbacks=callbacks,
        gradient_clip_val=stage.gradient_clip or None,
        check_val_every_n_epoch=validation_rhythm(stage),
        accumulate_grad_batches=stage.accumulate,
        precision=config.precision,
        num_sanity_val_steps=-1 if trained else 0,  # -1: all validation images
        logger=loggers,
        log_every_n_steps=10,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="auto",
        sync_batchnorm=distributed.world() > 1 and torch.cuda.is_available(),
        use_distributed_sampler=False,
        plugins=[WholeFile()],
        **_placement(freezes),
    )


def _callbacks(
    module: StageModule,
    config: TrainConfig,
    folder: RunFolder,
    save: Save,
    report: Callable[[str], None],
    snapshots: Snapshots | None,
) -> list[Callback]:
    stage, own = module.stage_config, folder.path / module.stage.name
    callbacks: list[Callback] = [KeepBest(lambda: save(folder.best(module.stage.name)), report)]
    if stage.ema:
        callbacks.append(WeightAveraging(multi_avg_fn=moving_average(stage.ema)))
    callbacks.append(Length(stage.epochs, lambda line: report(f"{module.stage.name}: {line}")))
    callbacks += [ProgressBar(), History(folder.history, report), LearningRateMonitor("step")]
    if stage.early_stopping:
        # Looked at after each validation, like the best: not at the end of epochs that have none.
        callbacks.append(
            EarlyStopping("miou", mode="max", patience=stage.early_stopping, check_on_train_epoch_end=False)
        )
    if stage.checkpoint_every:
        callbacks.append(KeepEvery(stage.checkpoint_every, own, save))
    if isinstance(stage, UnaryStageConfig) and stage.freeze_encoder:
        callbacks.append(UnfreezeEncoder(module.segmenter.network, stage.freeze_encoder))
    if snapshots is not None:
        callbacks.append(snapshots)
    callbacks.append(
        ModelCheckpoint(
            own, filename=Path(LAST).stem, enable_version_counter=False, every_n_epochs=1, save_on_train_epoch_end=True
        )
    )
    return callbacks


def _placement(freezes: bool) -> dict[str, int | Strategy]:
    """Devices and strategy as torchrun has laid the processes out; one device without it."""
    world, local = distributed.world(), distributed.local_world()
    if world == 1:
        return {"devices": 1}
    strategy = DDPStrategy(find_unused_parameters=freezes)  # frozen weights have no gradients
    return {"devices": local, "num_nodes": world // local, "strategy": strategy}


def fit_interruptible(
    trainer: L.Trainer,
    module: StageModule,
    train: DataLoader,
    val: DataLoader | None = None,
    checkpoint: Path | None = None,
) -> None:
    """Fits, and says nothing but errors. Lightning ends the process on Ctrl-C; here it is a KeyboardInterrupt."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # weights_only=False: the file is this run's own training state.
            trainer.fit(module, train, val, ckpt_path=checkpoint, weights_only=False)
        except SystemExit as error:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from error


def ended_without_best(stage: Stage, where: Path, finite: bool) -> SegtoolError:
    """The error for a stage that has no best epoch; `finite`: its weights are numbers."""
    if finite:
        mend = "label the validation images, or raise data.validation_images"
        return SegtoolError(f"stage {stage.name} ended without a score", where=where, mend=mend)
    mend = f"another --out and a lower {stage.settings}.learning_rate, or {stage.settings}.gradient_clip=1"
    return SegtoolError(f"stage {stage.name} diverged before its first validation", where=where, mend=mend)
