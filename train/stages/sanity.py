"""Sanity mode: a network that cannot learn one image by heart will not learn a dataset."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor

from segtool.card import InputContract
from segtool.data import Sample, SegmentationDataset, open_dataset
from segtool.data.statistics import count_masks
from segtool.errors import SegtoolError
from segtool.evaluation.boundaries import Truth
from segtool.evaluation.counts import TOLERANCES, count_image
from segtool.evaluation.pictures import pictures_of
from segtool.evaluation.scores import set_scores
from segtool.images import save_image
from segtool.train.augmentation import TrainingCrops
from segtool.train.config.settings import TrainConfig
from segtool.train.device import device
from segtool.train.losses import SegmentationLoss, class_weights
from segtool.train.networks import Segmenter
from segtool.train.networks.network import build_network
from segtool.train.networks.options import check_options
from segtool.train.optimizers import build_optimizer, network_groups
from segtool.train.predict import TorchPredictor
from segtool.train.stages.first_step import try_network
from segtool.user_code import allow_code

STEPS = 300
ENOUGH = 0.95  # mIoU on the image
_LOOK = 25  # steps


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
    allow_code(config.model.source)
    check_options(config.model)
    L.seed_everything(config.seed, verbose=False)
    dataset = open_dataset(data, "train")
    index = _telling_image(dataset)
    image, labels = _plain_crop(dataset, config, index)
    sample = Sample(image.permute(1, 2, 0).to(torch.uint8).numpy(), labels.to(torch.uint8).numpy())
    known = Truth(sample.labels, len(dataset.classes), TOLERANCES)
    segmenter = Segmenter(build_network(config.model, len(dataset.classes)), InputContract()).to(device())
    try_network(segmenter, config, ["unary"], len(dataset.classes), images=2)
    found = count_masks(dataset.classes, [sample.labels])
    weight = class_weights(config.loss.class_weights, found)
    criterion = SegmentationLoss(config.loss, weight, dataset.ignore_index).to(device())
    optimizer = build_optimizer(config.unary, network_groups(segmenter.network, config.unary.learning_rate))
    # Twice: batch norm of one value, as deep layers have for one image, is refused.
    images, truth = torch.stack([image, image]).to(device()), torch.stack([labels, labels]).to(device())
    losses: list[float] = []
    for step in range(1, steps + 1):
        segmenter.train()
        loss = criterion(segmenter.unary(images), truth)
        optimizer.zero_grad()
        loss.backward()
        if config.unary.gradient_clip:
            torch.nn.utils.clip_grad_norm_(segmenter.parameters(), config.unary.gradient_clip)
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % _LOOK == 0 or step == steps:
            prediction = TorchPredictor(segmenter)(sample.image)
            miou = set_scores(count_image(prediction.labels, known)).miou
            report(f"step {step}  loss {losses[-1]:.4f}  mIoU on the image {miou:.4f}")
            if miou >= ENOUGH:
                break
    shown = pictures_of(sample, prediction, [c.color for c in dataset.classes])
    save_image(picture, np.concatenate([*shown.values()], axis=1))
    return Sanity(dataset.identifier(index), miou, losses[0], losses[-1], len(losses))


def _telling_image(dataset: SegmentationDataset) -> int:
    """The first image with at least two classes."""
    for index in range(len(dataset)):
        labels = dataset.load(index).labels
        if len(np.unique(labels[labels < len(dataset.classes)])) > 1:
            return index
    raise SegtoolError("no training image has two classes", where=dataset.name, mend="segtool data stats shows more")


def _plain_crop(dataset: SegmentationDataset, config: TrainConfig, index: int) -> tuple[Tensor, Tensor]:
    """A crop of an image as it is."""
    plain = {"scale": (1.0, 1.0), "flip": False, "rotate": 0.0, "color_jitter": 0.0, "noise": 0.0}
    crops = TrainingCrops(dataset, config.data.model_copy(update=plain), config.seed)
    tries = [crops[epoch * len(crops) + index] for epoch in range(8)]  # crops at several places
    return max(tries, key=lambda crop: len(np.unique(crop[1].numpy())))
