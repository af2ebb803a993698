"""Sanity mode: a network that cannot learn one image by heart will not learn a dataset."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segtool.data import Sample, SegmentationDataset
from segtool.data.statistics import class_weights, count_masks
from segtool.drawing import save_image
from segtool.errors import SegtoolError
from segtool.evaluation.boundaries import Truth
from segtool.evaluation.counts import TOLERANCES, count_image
from segtool.evaluation.pictures import pictures_of
from segtool.evaluation.scores import set_scores
from segtool.input_contract import InputContract
from segtool.prediction import Prediction
from segtool.train import distributed
from segtool.train.augmentation import TrainingCrops
from segtool.train.config.settings import TrainConfig
from segtool.train.device import device
from segtool.train.losses import SegmentationLoss
from segtool.train.module import StageModule
from segtool.train.networks import Segmenter
from segtool.train.networks.network import build_network
from segtool.train.networks.options import check_options
from segtool.train.predict import TorchPredictor, evaluating
from segtool.train.stages.first_step import check_precision, try_network
from segtool.train.stages.fitting import fit_interruptible
from segtool.train.stages.splits import contract_of_image, open_splits, read_as
from segtool.user_code import allow_code

STEPS = 300
ENOUGH = 0.95  # mIoU on the image
_LOOK = 25  # steps
Crop = tuple[Tensor, Tensor]  # image float32 [B,h,w], labels int64 [h,w]


class Sanity(NamedTuple):
    """What came of it: mIoU on the image after the last step, 0..1; loss of the first and the last step."""

    image: str
    miou: float
    first_loss: float
    last_loss: float
    steps: int

    @property
    def passed(self) -> bool:
        """Whether the network has learned the image."""
        return self.miou >= ENOUGH


def overfit_one_image(
    config: TrainConfig, data: str, picture: Path, report: Callable[[str], None], steps: int = STEPS
) -> Sanity:
    """Trains on one crop with the settings of stage `unary` at a constant rate, without augmentation.

    Args:
        data: dataset spec.
        picture: is written: the image, its truth, what the network makes of it.
        report: told loss and mIoU now and then.
        steps: at most so many; fewer if the image is learned.
    """
    if distributed.world() > 1:
        raise SegtoolError("--sanity trains in one process", where="torchrun", mend="run it without torchrun")
    allow_code(config.model.source)
    check_options(config.model)
    check_precision(config)
    L.seed_everything(config.seed, verbose=False)
    dataset = open_splits(data, config)[0]
    index = _telling_image(dataset)
    contract = contract_of_image(dataset, config, index)
    read_as(contract, dataset)
    crop = _plain_crop(dataset, config, index, contract)
    image = crop[0].permute(1, 2, 0).to(getattr(torch, contract.kind)).numpy()
    sample = Sample(image, crop[1].to(torch.uint8).numpy())
    network = build_network(config.model, len(dataset.classes), contract.channels)
    segmenter = Segmenter(network, contract).to(device())
    try_network(segmenter, config, ["unary"], len(dataset.classes), images=2)
    weight = class_weights(config.loss.class_weights, count_masks(dataset.classes, [sample.labels]))
    criterion = SegmentationLoss(config.loss, weight, dataset.ignore_index)
    plain = {"schedule": "constant", "accumulate": 1, "ema": 0.0}
    settings = config.model_copy(update={"unary": config.unary.model_copy(update=plain)})
    look = _Look(sample, len(dataset.classes), steps, report)
    _train(StageModule("unary", segmenter, settings, criterion), settings, crop, steps, look)
    shown = pictures_of(dataset.as_shown(sample), look.prediction, [c.color for c in dataset.classes])
    save_image(picture, np.concatenate([*shown.values()], axis=1))
    return Sanity(dataset.identifier(index), look.miou, look.losses[0], look.losses[-1], len(look.losses))


def _train(module: StageModule, config: TrainConfig, crop: Crop, steps: int, look: "_Look") -> None:
    """Steps as those of a stage, all with the same crop."""
    trainer = L.Trainer(
        max_epochs=1,
        callbacks=[look],
        gradient_clip_val=config.unary.gradient_clip or None,
        precision=config.precision,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # Twice in a batch: batch norm of one value, as deep layers have for one image, is refused.
    batches: DataLoader = DataLoader(cast(Dataset, [crop] * (2 * steps)), 2)
    fit_interruptible(trainer, module, batches)


class _Look(Callback):
    """Looks now and then what the network makes of the image, and ends the training once it has learned it."""

    def __init__(self, sample: Sample, classes: int, steps: int, report: Callable[[str], None]) -> None:
        self._sample, self._steps, self._report = sample, steps, report
        self._truth = Truth(sample.labels, classes, TOLERANCES)
        self.losses: list[float] = []
        self.miou = 0.0
        self.prediction: Prediction

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, StageModule)
        self.losses.append(float(outputs["batch_loss"]))
        step = batch_idx + 1
        if step % _LOOK and step != self._steps:
            return
        with evaluating(pl_module.segmenter):
            self.prediction = TorchPredictor(pl_module.segmenter)(self._sample.image)
        self.miou = set_scores(count_image(self.prediction.labels, self._truth)).miou
        self._report(f"step {step}  loss {self.losses[-1]:.4f}  mIoU on the image {self.miou:.4f}")
        if self.miou >= ENOUGH:
            trainer.should_stop = True


def _telling_image(dataset: SegmentationDataset) -> int:
    """The first image with at least two classes."""
    for index in range(len(dataset)):
        labels = dataset.load(index).labels
        if len(np.unique(labels[labels < len(dataset.classes)])) > 1:
            return index
    raise SegtoolError("no training image has two classes", where=dataset.name, mend="segtool data stats shows more")


def _plain_crop(dataset: SegmentationDataset, config: TrainConfig, index: int, contract: InputContract) -> Crop:
    """A crop of an image as it is."""
    plain = {"scale": (1.0, 1.0), "flip": False, "rotate": 0.0, "color_jitter": 0.0, "noise": 0.0}
    crops = TrainingCrops(dataset, config.data.model_copy(update=plain), config.seed, contract)
    tries = [crops[epoch * len(crops) + index] for epoch in range(8)]  # crops at several places
    return max(tries, key=lambda crop: len(np.unique(crop[1].numpy())))
