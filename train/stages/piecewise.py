"""The piecewise trainer: runs the stages one after the other in a run folder that can be resumed."""

import logging
import shutil
import typing
from collections.abc import Callable
from pathlib import Path

import lightning as L
import torch

from segtool.allocator import keep_freed_memory
from segtool.card import InputContract, ModelCard, ValidationScores
from segtool.crf.layer import DenseCRF
from segtool.data import SegmentationDataset, absolute_spec, even_choice, open_dataset
from segtool.data.checks.inspection import check_all
from segtool.errors import SegtoolError
from segtool.evaluation.curves import save_curves
from segtool.evaluation.evaluate import evaluate
from segtool.evaluation.output import evaluate_into
from segtool.evaluation.workers import Workers
from segtool.files import atomic_path
from segtool.suggest import unknown
from segtool.train import distributed
from segtool.train.cache import cached
from segtool.train.callbacks import Snapshots, write_gif
from segtool.train.checkpoint import MODEL_FILE, load_segmenter, make_card, read_card, save_checkpoint
from segtool.train.config.settings import TrainConfig
from segtool.train.device import device
from segtool.train.loaders import training_batches, unary_crops, validation_batches
from segtool.train.loggers import build_loggers, check_loggers
from segtool.train.losses import SegmentationLoss, class_statistics, class_weights
from segtool.train.networks import Segmenter
from segtool.train.networks.network import build_network
from segtool.train.networks.options import check_options
from segtool.train.predict import TorchPredictor
from segtool.train.run_folder import RunFolder, RunState
from segtool.train.stages.batch_size import choose_batch_size
from segtool.train.stages.first_step import check_share, try_network
from segtool.train.stages.fitting import fit_stage
from segtool.train.stages.module import StageModule, StageName, stage_config
from segtool.train.stages.search import search_crf
from segtool.train.stages.start import start_from, with_network_of
from segtool.train.stages.temperature import fit_temperature
from segtool.user_code import allow_code

Report = Callable[[str], None]
_PREVIOUS: dict[StageName, StageName] = {"crf": "unary", "joint": "crf", "control": "unary"}


class PiecewiseTrainer:
    """Trains `stages` in order into the folder `out`.

    Args:
        config: the resolved configuration.
        data: dataset spec, `name` or `name:path`.
        out: the run folder; must be new unless `resume`.
        stages: any of unary, crf, joint, control.
        start: a file or run that takes the place of what was trained before the first of them, see `start_from`.
        resume: go on with a run that was interrupted.
        report: receives one line of progress at a time.

    Raises:
        SegtoolError: bad data (checked whole before training), a folder that holds another run, a network that cannot
            be built, weights that cannot be had.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: str,
        out: Path,
        stages: list[StageName],
        *,
        start: Path | None = None,
        resume: bool = False,
        report: Report = print,
    ) -> None:
        distributed.start()
        self.config, self.start = with_network_of(start, config), start
        self.folder, self.data, self.stages, self._report = RunFolder(out), data, stages, report
        allow_code(config.model.source)  # the user has named it
        if self.config.model == config.model:  # not that of a checkpoint, which was built before
            check_options(config.model)
        self.train_set, self.val_set = open_dataset(data, "train"), open_dataset(data, "val")
        check_share(len(self.train_set), distributed.world())
        origin = None if start is None else str(start)
        found = distributed.on_first(lambda: self.folder.find(self.config, data, origin, resume))
        self.state = found or RunState(data=data, start=origin)
        _check_machine(config)
        self._check_stages()
        self._tell(f"checking {len(self.train_set)} training and {len(self.val_set)} validation images")
        for doubt in distributed.on_first(lambda: check_all(self.train_set, self.val_set)):
            self._tell(f"warning: {doubt}")
        classes = distributed.on_first(lambda: class_statistics(self.train_set))
        weight = class_weights(config.loss.class_weights, classes)
        self.criterion = SegmentationLoss(config.loss, weight, self.train_set.ignore_index)
        # Only now: a run that cannot start leaves no folder behind. A resumed one may have more epochs.
        distributed.on_first(lambda: self.folder.create(self.config, self.state))

    @property
    def out(self) -> Path:
        """The run folder."""
        return self.folder.path

    def run(self) -> ModelCard:
        """Runs what is not done yet and returns the finished model's card."""
        keep_freed_memory()
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        images: SegmentationDataset | None = None
        try:
            for stage in self.stages:
                if stage in self.state.done:
                    self._log(f"{stage}: done before")
                    continue
                images = images or self._cached_images()
                L.seed_everything(self.config.seed, verbose=False)
                self._run_stage(stage, images)
        finally:
            shutil.rmtree(self._cache_folder, ignore_errors=True)
        distributed.on_first(self._finish)
        return read_card(self.out / MODEL_FILE)

    @property
    def _cache_folder(self) -> Path:
        return self.out / "cache" / f"{distributed.rank()}"

    @property
    def _last(self) -> StageName:
        return [stage for stage in self.stages if stage != "control"][-1]

    def _check_stages(self) -> None:
        """Whether each stage finds what it starts from, and the first one can be built or read."""
        available: set[StageName] = set(self.state.done)  # type: ignore[arg-type]
        for stage in self.stages:
            needed = _PREVIOUS.get(stage)
            from_file = self.start is not None and needed not in self.stages
            if needed is not None and needed not in available and not from_file:
                mend = f"--stages {needed},{stage}, or --from CHECKPOINT"
                raise SegtoolError(f"stage {stage} needs stage {needed}", where=self.out, mend=mend)
            available.add(stage)
        to_come = [stage for stage in self.stages if stage not in self.state.done]
        if to_come and _PREVIOUS.get(to_come[0]) not in self.state.done:
            # The first process downloads weights, the others find them there.
            distributed.on_first(lambda: self._try(to_come))

    def _try(self, stages: list[StageName]) -> None:
        classes, images = len(self.train_set.classes), len(self.train_set) // distributed.world()
        try_network(self._start_of(stages[0]), self.config, stages, classes, images)

    def _start_of(self, stage: StageName) -> Segmenter:
        """The segmenter that a stage starts from: the best of the one before it, the given file, or a new network."""
        previous = _PREVIOUS.get(stage)
        if previous in self.state.done:
            segmenter = load_segmenter(self.folder.best(previous))[0]
        elif self.start is not None:
            new_head = stage == "unary"  # which trains it
            segmenter = start_from(self.start, self.config.model, self.train_set.classes, new_head=new_head)
        else:
            return Segmenter(build_network(self.config.model, len(self.train_set.classes)), InputContract())
        if segmenter.crf is not None:
            segmenter.crf.temperature = 1.0  # the loss is that of Q_T; each stage ends with a temperature of its own
        if stage != "joint":
            segmenter.crf = None
        elif segmenter.crf is None:
            raise SegtoolError("there is no CRF to start stage joint from", where=self.start, mend="--stages crf,joint")
        return segmenter

    def _cached_images(self) -> SegmentationDataset:
        copies = distributed.local_world()
        return cached(self.train_set, self.config.data.cache, self._cache_folder, self._log, copies)

    def _run_stage(self, stage: StageName, images: SegmentationDataset) -> None:
        segmenter = self._start_of(stage)
        if stage == "crf":
            segmenter.crf = self._searched_crf(segmenter, images)
        best = self.folder.best(stage)
        if stage_config(self.config, stage).epochs:
            finite = self._fit(stage, segmenter, images)
            if finite and not best.is_file():
                mend = "label the validation images, or raise data.validation_images"
                raise SegtoolError(f"stage {stage} ended without a score", where=self.out, mend=mend)
            if not best.is_file():
                settings = "joint" if stage == "control" else stage
                mend = f"another --out and a lower {settings}.learning_rate, or {settings}.gradient_clip=1"
                raise SegtoolError(f"stage {stage} diverged before its first validation", where=self.out, mend=mend)
        else:
            distributed.on_first(lambda: save_checkpoint(best, segmenter, self._card(segmenter)))
        self._log(f"{stage}: scoring all {len(self.val_set)} validation images")
        self.state.done[stage] = distributed.on_first(lambda: self._score(stage))
        distributed.on_first(lambda: self.folder.save(self.state))

    def _fit(self, stage: StageName, segmenter: Segmenter, images: SegmentationDataset) -> bool:
        """Whether all weights are numbers at the end."""
        module = StageModule(stage, segmenter, self.config, self.criterion)
        size = self._batch_size(module)
        fit_stage(
            module,
            self.config,
            self.folder,
            training_batches(stage, self.config, images, segmenter, size),
            validation_batches(self.config, self.val_set),
            trained=stage != "unary" or self.start is not None,
            loggers=build_loggers(self.config, self.out, stage, self.state.id),
            save=lambda path: save_checkpoint(path, segmenter, self._card(segmenter)),
            report=self._log,
            snapshots=self._snapshots(),
        )
        return module.is_finite()

    def _batch_size(self, module: StageModule) -> int:
        size, stage = self.config.data.batch_size, module.stage
        if stage == "crf":
            return self.config.crf.batch_size
        if size != "auto":
            return size
        if stage not in self.state.batch_sizes:  # a resumed stage goes on with what it began with
            images = len(self.train_set) // distributed.world()
            chosen = min(distributed.gathered(choose_batch_size(module, self.config.data.crop, images)))
            self.state.batch_sizes[stage] = chosen
            self._log(f"{stage}: batch size {chosen} on each of {distributed.world()} devices")
            distributed.on_first(lambda: self.folder.save(self.state))
        return self.state.batch_sizes[stage]

    def _searched_crf(self, segmenter: Segmenter, images: SegmentationDataset) -> DenseCRF:
        config = self.config.crf
        if self.state.widths is None or self.state.weights is None:
            self._log(f"crf: searching kernel widths and weights on {min(config.search_images, len(images))} crops")
            self.state = distributed.on_first(lambda: self._search(segmenter, images))
            distributed.on_first(lambda: self.folder.save(self.state))
        assert self.state.widths is not None
        assert self.state.weights is not None
        self._log(f"crf: {self.state.widths}, weights {self.state.weights}")
        return DenseCRF(
            len(self.train_set.classes),
            self.state.widths,
            self.state.weights,
            compatibility=config.compatibility,
            learn_widths=config.learn_widths,
            iterations=config.inference_iterations,
        )

    def _search(self, segmenter: Segmenter, images: SegmentationDataset) -> RunState:
        crops = unary_crops(self.config, images, segmenter.to(device()))
        chosen = [crops[i] for i in even_choice(len(crops), self.config.crf.search_images)]
        widths, weights, trials = search_crf(chosen, self.config.crf, self.criterion.to(device()))
        segmenter.cpu()
        self.criterion.cpu()
        return self.state.model_copy(update={"widths": widths, "weights": weights, "search": trials})

    def _score(self, stage: StageName) -> ValidationScores:
        """Fits the temperature of the best of a stage and scores it on all validation images; both go into its card. Of
        the last stage also writes a report."""
        path = self.folder.best(stage)
        segmenter, card = load_segmenter(path)
        predictor = TorchPredictor(segmenter.to(device()))
        if segmenter.crf is not None:
            segmenter.crf.temperature = fit_temperature(segmenter, self.val_set)
            self._log(f"{stage}: temperature {segmenter.crf.temperature:.3f}")
            card = card.model_copy(update={"crf": segmenter.crf.to_card()})
        if stage == self._last and self.config.report.write:
            about = {"model": str(self.out.resolve()), "data": absolute_spec(self.data), "split": "val"}
            with Workers(lambda: (predictor, self.val_set)) as workers:
                threshold, out = self.config.report.failures, self.out / "evaluation"
                found, _ = evaluate_into(out, workers, threshold=threshold, about=about, history=self.folder.history)
        else:
            found = evaluate(predictor, self.val_set)
        scores = found.validation_scores()
        save_checkpoint(path, segmenter.cpu(), card.model_copy(update={"validation": scores}))
        return scores

    def _finish(self) -> None:
        write_gif(self.out / "snapshots", self.out / "progress.gif")
        save_curves(self.folder.history, self.out / "curves.png")
        with atomic_path(self.out / MODEL_FILE) as temporary:
            shutil.copyfile(self.folder.best(self._last), temporary)

    def _snapshots(self) -> Snapshots | None:
        config = self.config.snapshots
        if not config.every:
            return None
        samples = [self.val_set.load(i) for i in even_choice(len(self.val_set), config.images)]
        return Snapshots(self.out / "snapshots", config.every, samples, self.train_set.classes)

    def _card(self, segmenter: Segmenter) -> ModelCard:
        data = self.train_set
        return make_card(self.config, segmenter, data.classes, data.ignore_index, data.record())

    def _log(self, line: str) -> None:
        """Tells whoever waits, and log.txt."""
        if distributed.is_first():
            self._tell(line)
            self.folder.log(line)

    def _tell(self, line: str) -> None:
        if distributed.is_first():
            self._report(line)


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


def _check_machine(config: TrainConfig) -> None:
    """Refuses what cannot run here."""
    check_loggers(config)
    if config.precision == "16-mixed" and not torch.cuda.is_available():
        raise SegtoolError("16-mixed needs a GPU", where="precision", mend="--set precision=bf16-mixed")
