"""The piecewise trainer: runs the stages one after the other in a run folder that can be resumed."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lightning as L

from segtool.allocator import keep_freed_memory
from segtool.card import ModelCard, ValidationScores
from segtool.crf.layer import DenseCRF
from segtool.data import SegmentationDataset
from segtool.data.statistics import class_weights
from segtool.evaluation.curves import save_curves
from segtool.files import atomic_path
from segtool.input_contract import InputContract
from segtool.train import distributed
from segtool.train.cache import cached
from segtool.train.callbacks import snapshots_of, write_gif
from segtool.train.checkpoint import make_card, save_checkpoint
from segtool.train.checkpoint_file import MODEL_FILE, read_card
from segtool.train.config.settings import StageName, TrainConfig
from segtool.train.config.stages import Stage, stage_of
from segtool.train.device import device
from segtool.train.loggers import build_loggers, check_loggers
from segtool.train.losses import SegmentationLoss
from segtool.train.module import StageModule
from segtool.train.networks import Segmenter
from segtool.train.networks.options import check_options
from segtool.train.run_folder import RunFolder, RunState
from segtool.train.stages.batch_size import batch_size_of
from segtool.train.stages.context_maps import new_context
from segtool.train.stages.first_step import check_precision, check_share, try_stages
from segtool.train.stages.fitting import ended_without_best, fit_stage
from segtool.train.stages.loaders import training_batches, validation_batches
from segtool.train.stages.scoring import score_stage, write_evaluation
from segtool.train.stages.search import crf_to_learn, search_on_images
from segtool.train.stages.splits import check_splits, contract_of_image, open_splits, read_as
from segtool.train.stages.start import check_order, start_of, with_network_of
from segtool.user_code import allow_code

Report = Callable[[str], None]


class PiecewiseTrainer:
    """Trains `stages` in order into the folder `out`: construct it, `prepare` it, `run` it.

    Args:
        config: the resolved configuration.
        data: dataset spec, `name` or `name:path`.
        out: the run folder; must be new unless `resume`.
        stages: any of unary, context, crf, joint, control.
        start: a file or run that takes the place of what was trained before the first of them, see `start_from`.
        resume: go on with a run that was interrupted.
        report: receives one line of progress at a time.

    Attributes:
        train_set, val_set, contract, criterion, state: the splits, what their images are, the loss, and what is done;
            after `prepare`.
    """

    train_set: SegmentationDataset
    val_set: SegmentationDataset
    contract: InputContract
    criterion: SegmentationLoss
    state: RunState

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
        self.config, self.data, self.start = config, data, start
        self.stages = [stage_of(name, config) for name in stages]
        self.folder, self._resume, self._report, self._prepared = RunFolder(out), resume, report, False

    def prepare(self) -> None:
        """Checks everything that can be checked before the first step, and makes the run folder.

        Joins the other processes if there are some, reads every image, and may download weights.

        Raises:
            SegtoolError: bad data, a folder that holds another run, a network that cannot be built, weights that
                cannot be had.
        """
        distributed.start()
        given = self.config.model
        self.config = with_network_of(self.start, self.config)
        allow_code(given.source)  # the user has named it
        if self.config.model == given:  # not that of a checkpoint, which was built before
            check_options(given)
        self.train_set, self.val_set = open_splits(self.data, self.config, self.start)
        self.contract = contract_of_image(self.train_set, self.config, start=self.start)
        check_share(len(self.train_set), distributed.world())
        origin = None if self.start is None else str(self.start)
        found = distributed.on_first(lambda: self.folder.find(self.config, self.data, origin, self._resume))
        self.state = found or RunState(data=self.data, start=origin)
        check_loggers(self.config)
        check_precision(self.config)
        self._check_stages()
        self._tell(f"checking {len(self.train_set)} training and {len(self.val_set)} validation images")
        checked = distributed.on_first(lambda: check_splits(self.train_set, self.val_set, self.config, self.start))
        for doubt in checked.doubts:
            self._tell(f"warning: {doubt}")
        self.contract = checked.contract
        read_as(self.contract, self.train_set, self.val_set)
        weight = class_weights(self.config.loss.class_weights, checked.training)
        self.criterion = SegmentationLoss(self.config.loss, weight, self.train_set.ignore_index)
        # Only now: a run that cannot start leaves no folder behind. A resumed one may have more epochs.
        distributed.on_first(lambda: self.folder.create(self.config, self.state))
        self._prepared = True

    @property
    def out(self) -> Path:
        """The run folder."""
        return self.folder.path

    def run(self) -> ModelCard:
        """Runs what is not done yet, prepared if it is not, and returns the finished model's card.

        Raises:
            SegtoolError: see `prepare`; a stage ended without a model.
        """
        if not self._prepared:
            self.prepare()
        keep_freed_memory()
        cache, images = self.out / "cache" / f"{distributed.rank()}", None
        try:
            for stage in self.stages:
                if stage.name in self.state.done:
                    self._log(f"{stage.name}: done before")
                    continue
                if images is None:
                    how, copies = self.config.data.cache, distributed.local_world()
                    images = cached(self.train_set, how, cache, self._log, copies)
                L.seed_everything(self.config.seed, verbose=False)
                self._run_stage(stage, images)
        finally:
            shutil.rmtree(cache, ignore_errors=True)
        distributed.on_first(self._finish)
        return read_card(self.out / MODEL_FILE)

    @property
    def _last(self) -> Stage:
        return [stage for stage in self.stages if stage.name != "control"][-1]

    def _check_stages(self) -> None:
        """Whether each stage finds what it starts from, and the first one can be built or read."""
        check_order(self.stages, self.state.done, self.start, self.out, self.folder.begun(self.state))
        to_come = [stage for stage in self.stages if stage.name not in self.state.done]
        if to_come and to_come[0].before(self.state.done) is None:
            # The first process downloads weights, the others find them there.
            classes, share = len(self.train_set.classes), len(self.train_set) // distributed.world()
            distributed.on_first(lambda: try_stages(self._start_of(to_come[0]), self.config, to_come, classes, share))

    def _start_of(self, stage: Stage) -> Segmenter:
        before = stage.before(self.state.done)
        best = None if before is None else self.folder.best(before)
        return start_of(stage, best, self.start, self.config.model, self.train_set.classes, self.contract)

    def _run_stage(self, stage: Stage, images: SegmentationDataset) -> None:
        segmenter = self._start_of(stage)
        if stage.by_edges:
            segmenter.context = new_context(segmenter.to(device()), images, self.config.context)
            segmenter.cpu()
        if stage.crf and segmenter.crf is None:
            segmenter.crf = self._searched_crf(segmenter, images)
        best = self.folder.best(stage.name)
        if stage.config(self.config).epochs:
            finite = self._fit(stage, segmenter, images)
            if not best.is_file():
                raise ended_without_best(stage, self.out, finite)
        else:
            distributed.on_first(lambda: save_checkpoint(best, segmenter, self._card(segmenter)))
        self._log(f"{stage.name}: scoring all {len(self.val_set)} validation images")
        self.state.done[stage.name] = distributed.on_first(lambda: self._score(stage))
        distributed.on_first(lambda: self.folder.save(self.state))

    def _fit(self, stage: Stage, segmenter: Segmenter, images: SegmentationDataset) -> bool:
        """Whether all weights are numbers at the end."""
        module = StageModule(stage.name, segmenter, self.config, self.criterion)
        share = len(self.train_set) // distributed.world()
        size = batch_size_of(module, self.config, share, self.state.batch_sizes, self._log)
        distributed.on_first(lambda: self.folder.save(self.state))
        fit_stage(
            module,
            self.config,
            self.folder,
            training_batches(stage, self.config, images, segmenter, size),
            validation_batches(self.config, self.val_set),
            trained=bool(stage.previous) or self.start is not None,
            loggers=build_loggers(self.config, self.out, stage.name, self.state.id),
            save=lambda path: save_checkpoint(path, segmenter, self._card(segmenter)),
            report=self._log,
            snapshots=snapshots_of(self.val_set, self.config.snapshots, self.out / "snapshots"),
        )
        return module.is_finite()

    def _searched_crf(self, segmenter: Segmenter, images: SegmentationDataset) -> DenseCRF:
        config = self.config.crf
        if self.state.widths is None or self.state.weights is None:
            self._log(f"crf: searching kernel widths and weights on {min(config.search_images, len(images))} crops")
            found = distributed.on_first(lambda: search_on_images(images, segmenter, self.config, self.criterion))
            update = {"widths": found.widths, "weights": found.weights, "search": found.trials}
            self.state = self.state.model_copy(update=update)
            distributed.on_first(lambda: self.folder.save(self.state))
        assert self.state.widths is not None
        assert self.state.weights is not None
        self._log(f"crf: {self.state.widths}, weights {self.state.weights}")
        return crf_to_learn(len(self.train_set.classes), self.state.widths, self.state.weights, config)

    def _score(self, stage: Stage) -> ValidationScores:
        """Of the last stage also writes a report."""
        write = None
        if stage == self._last and self.config.report.write:
            write = partial(
                write_evaluation, images=self.val_set, folder=self.folder, data=self.data, config=self.config.report
            )
        checkpoint = self.folder.best(stage.name)
        return score_stage(checkpoint, self.val_set, lambda line: self._log(f"{stage.name}: {line}"), write)

    def _finish(self) -> None:
        write_gif(self.out / "snapshots", self.out / "progress.gif")
        save_curves(self.folder.history, self.out / "curves.png")
        with atomic_path(self.out / MODEL_FILE) as temporary:
            shutil.copyfile(self.folder.best(self._last.name), temporary)

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
