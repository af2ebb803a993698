"""The piecewise trainer: runs the stages one after the other in a run folder that can be resumed.

A run folder holds config.yaml, state.json (what is done, with scores), history.jsonl, and for each stage
`STAGE/best.safetensors` and `STAGE/last.ckpt`; at the end model.safetensors, the best of the last stage.
"""

import logging
import shutil
import signal
import typing
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from pydantic import BaseModel
from torch.utils.data import DataLoader

from segtool.card import InputContract, ModelCard, ValidationScores
from segtool.errors import SegtoolError
from segtool.files import atomic_path, ensure_folder, write_text
from segtool.train.allocator import keep_freed_memory
from segtool.train.callbacks import History, KeepBest
from segtool.train.checkpoint import MODEL_FILE, load_segmenter, make_card, read_card, save_checkpoint
from segtool.train.config import TrainConfig
from segtool.train.data import open_dataset
from segtool.train.data.augment import TrainingCrops, WholeImages
from segtool.train.data.inspect import check_all
from segtool.train.evaluation.run import evaluate
from segtool.train.freezing import UnfreezeEncoder
from segtool.train.losses import SegmentationLoss, class_frequency
from segtool.train.models import DenseCRF, KernelWidths, Segmenter
from segtool.train.models.network import build_network
from segtool.train.optimizers import validation_rhythm
from segtool.train.predict import TorchPredictor
from segtool.train.search import search_crf
from segtool.train.stage import StageModule, StageName, stage_config
from segtool.train.suggest import unknown
from segtool.train.unary_crops import UnaryCrops

Report = Callable[[str], None]
_PREVIOUS: dict[StageName, StageName] = {"crf": "unary", "joint": "crf", "control": "unary"}


class RunState(BaseModel):
    """state.json: what a run has done."""

    data: str
    done: dict[str, ValidationScores] = {}
    search: list[dict[str, Any]] = []
    widths: KernelWidths | None = None
    weights: tuple[float, float] | None = None


class PiecewiseTrainer:
    """Trains `stages` in order into the folder `out`.

    Args:
        config: the resolved configuration.
        data: dataset spec, `name` or `name:path`.
        out: the run folder; must be new unless `resume`.
        stages: any of unary, crf, joint, control.
        resume: go on with a run that was interrupted.
        report: receives one line of progress at a time.

    Raises:
        SegtoolError: bad data (checked whole before training), a folder that holds another run.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: str,
        out: Path,
        stages: list[StageName],
        *,
        resume: bool = False,
        report: Report = print,
    ) -> None:
        self.config, self.out, self.stages, self.report = config, out, stages, report
        self.train_set, self.val_set = open_dataset(data, "train"), open_dataset(data, "val")
        found = _find_run(out, config, data, resume)
        self.state = found or RunState(data=data)
        if config.precision == "16-mixed" and not torch.cuda.is_available():
            raise SegtoolError("16-mixed needs a GPU", where="precision", mend="--set precision=bf16-mixed")
        self._check_stages()
        self.crops = TrainingCrops(self.train_set, config.data)
        report(f"checking {len(self.train_set)} training and {len(self.val_set)} validation images")
        check_all(self.train_set, self.val_set)
        frequency = class_frequency(self.train_set)
        self.criterion = SegmentationLoss(config.loss, frequency, self.train_set.ignore_index)
        if found is None:  # only now: a run that cannot start leaves no folder behind
            ensure_folder(out)
            write_text(out / "config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
            self._save_state()

    def _check_stages(self) -> None:
        """Whether the network can be built, and each stage finds the one that it starts from."""
        available = {*self.state.done, *self.stages}
        for stage in self.stages:
            if stage not in self.state.done and (needed := _PREVIOUS.get(stage)) and needed not in available:
                raise SegtoolError(
                    f"stage {stage} needs stage {needed}", where=self.out, mend=f"--stages {needed},{stage}"
                )
        if "unary" not in self.state.done:
            self._new_network()

    def _new_network(self) -> torch.nn.Module:
        model = self.config.model
        classes = len(self.train_set.classes)
        return build_network(model.architecture, model.encoder, classes, model.options, model.weights)

    def run(self) -> ModelCard:
        """Runs what is not done yet and returns the finished model's card."""
        keep_freed_memory()
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        for stage in self.stages:
            if stage in self.state.done:
                self.report(f"{stage}: done before")
                continue
            L.seed_everything(self.config.seed, verbose=False)
            self._run_stage(stage)
        last = [s for s in self.stages if s != "control"][-1]
        with atomic_path(self.out / MODEL_FILE) as temporary:
            shutil.copyfile(self._best(last), temporary)
        return read_card(self.out / MODEL_FILE)

    def _run_stage(self, stage: StageName) -> None:
        segmenter = self._start(stage)
        if stage_config(self.config, stage).epochs:
            self._fit(stage, segmenter)
        else:
            save_checkpoint(self._best(stage), segmenter, self._card(segmenter))
        segmenter, card = load_segmenter(self._best(stage))
        self.report(f"{stage}: scoring all {len(self.val_set)} validation images")
        scores = evaluate(TorchPredictor(segmenter), self.val_set).validation_scores()
        save_checkpoint(self._best(stage), segmenter, card.model_copy(update={"validation": scores}))
        self.state.done[stage] = scores
        self._save_state()

    def _start(self, stage: StageName) -> Segmenter:
        """The segmenter that a stage starts from: the best of the stage before it."""
        if stage == "unary":
            return Segmenter(self._new_network(), InputContract())
        segmenter, _ = load_segmenter(self._best(_PREVIOUS[stage]))
        if stage == "crf":
            segmenter.crf = self._searched_crf(segmenter)
        return segmenter

    def _searched_crf(self, segmenter: Segmenter) -> DenseCRF:
        config = self.config.crf
        if self.state.widths is None or self.state.weights is None:
            crops = self._unary_crops(segmenter)
            count, total = min(config.search_images, len(crops)), len(crops)
            self.report(f"crf: searching kernel widths and weights on {count} training crops")
            chosen = [crops[i * total // count] for i in range(count)]
            widths, weights, trials = search_crf(chosen, config, self.criterion)
            self.state.widths, self.state.weights, self.state.search = widths, weights, trials
            self._save_state()
        self.report(f"crf: {self.state.widths}, weights {self.state.weights}")
        return DenseCRF(
            len(self.train_set.classes),
            self.state.widths,
            self.state.weights,
            compatibility=config.compatibility,
            learn_widths=config.learn_widths,
            iterations=config.inference_iterations,
        )

    def _fit(self, stage: StageName, segmenter: Segmenter) -> None:
        config, data = stage_config(self.config, stage), self.config.data
        segmenter.to(memory_format=torch.channels_last)
        module = StageModule(stage, segmenter, self.config, self.criterion)
        folder = ensure_folder(self.out / stage)
        callbacks: list[Callback] = [
            KeepBest(lambda: save_checkpoint(self._best(stage), segmenter, self._card(segmenter))),
            History(self.out / "history.jsonl", self.report),
            ModelCheckpoint(
                folder,
                "last",
                save_top_k=1,
                every_n_epochs=1,
                enable_version_counter=False,
                save_on_train_epoch_end=True,
            ),
        ]
        if stage == "unary" and self.config.unary.freeze_encoder:
            callbacks.append(UnfreezeEncoder(segmenter.network, self.config.unary.freeze_encoder))
        trainer = L.Trainer(
            max_epochs=config.epochs,
            callbacks=callbacks,
            gradient_clip_val=config.gradient_clip or None,
            check_val_every_n_epoch=validation_rhythm(config),
            accumulate_grad_batches=config.accumulate,
            precision=self.config.precision,
            num_sanity_val_steps=0,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="auto",
            devices=1,
        )
        train = self._training_batches(stage, segmenter)
        val = DataLoader(WholeImages(self.val_set, data.validation_images), 1, num_workers=0)
        last = folder / "last.ckpt"
        _fit_interruptible(trainer, module, train, val, last if last.is_file() else None)
        segmenter.cpu()

    def _training_batches(self, stage: StageName, segmenter: Segmenter) -> DataLoader:
        data = self.config.data
        # The fixed network runs where it lies, in this process.
        crops, size, workers = (
            (self._unary_crops(segmenter), self.config.crf.batch_size, 0)
            if stage == "crf"
            else (self.crops, data.batch_size, data.workers)
        )
        return DataLoader(crops, min(size, len(crops)), shuffle=True, drop_last=True, num_workers=workers)

    def _unary_crops(self, segmenter: Segmenter) -> UnaryCrops:
        segmenter.network.eval()
        return UnaryCrops(self.crops, segmenter, self.config.crf.crop, self.train_set.ignore_index)

    def _card(self, segmenter: Segmenter) -> ModelCard:
        data = self.train_set
        return make_card(self.config, segmenter, data.classes, data.ignore_index, data.record())

    def _best(self, stage: StageName) -> Path:
        return self.out / stage / "best.safetensors"

    def _save_state(self) -> None:
        write_text(self.out / "state.json", self.state.model_dump_json(indent=2))


def parse_stages(text: str) -> list[StageName]:
    """Reads `unary,crf,joint` (any of them, and `control`), in the order in which they must run."""
    known = typing.get_args(StageName)
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise unknown("stage", name, known)
    if not set(wanted) - {"control"}:
        raise SegtoolError("--stages needs at least one of unary, crf, joint", where=text)
    return [name for name in known if name in wanted]


def _find_run(out: Path, config: TrainConfig, data: str, resume: bool) -> RunState | None:
    """The state of the run in `out`, None if there is none; refuses to mix two runs."""
    path = out / "state.json"
    if not path.is_file():
        return None
    if not resume:
        raise SegtoolError("the folder already holds a run", where=out, mend="--resume, or another --out")
    state = RunState.model_validate_json(path.read_text(encoding="utf-8"))
    saved = TrainConfig.model_validate(yaml.safe_load((out / "config.yaml").read_text(encoding="utf-8")))
    if saved != config or state.data != data:
        raise SegtoolError(
            "the run was started with other settings or data",
            where=out / "config.yaml",
            mend="resume with the same --preset, --data and --set",
        )
    return state


def _fit_interruptible(
    trainer: L.Trainer, module: StageModule, train: DataLoader, val: DataLoader, checkpoint: Path | None
) -> None:
    """Lightning ends the process on Ctrl-C; here it is an ordinary KeyboardInterrupt again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # weights_only=False: the file is this run's own training state.
            trainer.fit(module, train, val, ckpt_path=checkpoint, weights_only=False)
        except SystemExit as error:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from error
