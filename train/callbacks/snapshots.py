"""Pictures of the same images as training goes on."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segtool.card import ClassInfo
from segtool.data import Sample, SegmentationDataset, even_choice
from segtool.drawing import save_image, scaled_to_width
from segtool.evaluation.pictures import pictures_of
from segtool.files import write_bytes
from segtool.images import RGB
from segtool.train.config.settings import SnapshotConfig
from segtool.train.config.stages import STAGES
from segtool.train.distributed import is_first
from segtool.train.module import StageModule
from segtool.train.predict import TorchPredictor, evaluating

_WIDTH = 240  # of one picture in the sheet, pixels
_CAPTION = 16
_SECONDS = 0.7  # that the GIF shows each epoch
_LAST_SECONDS = 2.5


class Snapshots(Callback):
    """Writes `folder/STAGE_epoch_0005.png`, a row for each image: image, truth, labels before and after the CRF.

    The first is of epoch 0, before any training; the last of the last epoch, whatever it is.

    Args:
        folder: for the pictures.
        every: epochs.
        samples: images, and as they are shown, with their labels.
        classes: names and colours.
    """

    def __init__(
        self, folder: Path, every: int, samples: Sequence[tuple[NDArray[Any], Sample]], classes: Sequence[ClassInfo]
    ) -> None:
        self._folder, self._every, self._samples = folder, every, samples
        self._colors = [c.color for c in classes]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 0:
            self._write(pl_module, 0)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self._every == 0 or epoch == trainer.max_epochs:
            self._write(pl_module, epoch)

    def _write(self, module: L.LightningModule, epoch: int) -> None:
        assert isinstance(module, StageModule)
        if not is_first():
            return
        with evaluating(module.segmenter):
            predict = TorchPredictor(module.segmenter)
            rows = [[*pictures_of(shown, predict(image), self._colors).values()] for image, shown in self._samples]
        title = f"{module.stage.name}, epoch {epoch}"
        save_image(self._folder / f"{module.stage.name}_epoch_{epoch:04d}.png", _sheet(rows, title))


def snapshots_of(images: SegmentationDataset, config: SnapshotConfig, folder: Path) -> Snapshots | None:
    """Snapshots of an even choice of the images into the folder; None if there are to be none."""
    if not config.every:
        return None
    samples = [images.load(i) for i in even_choice(len(images), config.images)]
    shown = [(sample.image, images.as_shown(sample)) for sample in samples]
    return Snapshots(folder, config.every, shown, images.classes)


def _sheet(rows: Sequence[Sequence[RGB]], title: str) -> RGB:
    """Rows of pictures under a title."""
    tiles = [np.concatenate([scaled_to_width(picture, _WIDTH) for picture in row], axis=1) for row in rows]
    caption = Image.new("RGB", (tiles[0].shape[1], _CAPTION), "white")
    ImageDraw.Draw(caption).text((4, 2), title, fill="black")
    return np.concatenate([np.array(caption), *tiles])


def write_gif(folder: Path, path: Path) -> None:
    """All snapshots of a run, in the order in which they were made, as one animation."""
    stages = list[str](STAGES)
    files = sorted(folder.glob("*_epoch_*.png"), key=lambda f: (stages.index(f.stem.partition("_")[0]), f.name))
    if not files:
        return
    frames = [Image.open(file).convert("RGB") for file in files]
    width, height = max(f.width for f in frames), max(f.height for f in frames)
    sheets = []
    for frame in frames:  # the stages with a CRF have a column more
        sheet = Image.new("RGB", (width, height), "white")
        sheet.paste(frame, (0, 0))
        sheets.append(sheet.quantize(128))
    durations = [int(1000 * _SECONDS)] * (len(sheets) - 1) + [int(1000 * _LAST_SECONDS)]
    content = io.BytesIO()
    sheets[0].save(content, "GIF", save_all=True, append_images=sheets[1:], duration=durations, loop=0)
    write_bytes(path, content.getbuffer())
