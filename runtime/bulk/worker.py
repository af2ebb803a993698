"""A model in an actor of Ray Data, and a block of images through it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.drawing import as_palette_image, png_bytes
from segtool.prediction import Prediction, sure, voided
from segtool.readers import Image, Missing
from segtool.runtime import BackendName, Tiles, load, predict_tiled
from segtool.runtime.bulk.index import write_part
from segtool.runtime.bulk.storage import Storage
from segtool.runtime.pipeline import run_overlapped


@dataclass(frozen=True)
class Work:
    """What a worker does.

    Attributes:
        model: path of the .onnx or .engine file, on every machine.
        threads: of the runtime on the processor.
        batch: images of one size in a run.
        tiles: for images that are larger.
        threshold: below which confidence pixels are void.
        bands: of maps, see `segtool.runtime.maps.job.MapJob`.
    """

    images: Storage
    out: Storage
    model: str
    backend: BackendName = "auto"
    threads: int = 1
    batch: int = 1
    tiles: Tiles | None = None
    threshold: float | None = None
    bands: tuple[int, ...] | None = None


class Worker:
    """Loads the model once, and segments blocks of paths."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.model = load(Path(work.model), backend=work.backend, threads=work.threads)

    def __call__(self, block: dict[str, NDArray[Any]]) -> dict[str, list[int]]:
        """Segments the images of a block, then writes down what became of them.

        Args:
            block: `path`, relative to the images, and `name`, of the mask without its ending.

        Returns:
            `done` and `failed`, the numbers of images.
        """
        rows: dict[str, dict[str, Any]] = {}
        paths = [str(path) for path in block["path"]]
        names = dict(zip(paths, map(str, block["name"]), strict=True))

        missing: dict[str, Missing] = {}

        def read(path: str) -> Image:
            opened = self.model.reader.decode(self.work.images.read(path))
            missing[path] = opened.missing
            return opened.values

        def write(path: str, image: Image, prediction: Prediction) -> None:
            prediction = voided(prediction, missing.pop(path))
            mask = f"{names[path]}.png"
            self.work.out.write(mask, png_bytes(as_palette_image(prediction.labels, self.model.card.colors)))
            rows[path] = _row(path, mask, prediction, len(self.model.card.classes))

        found = run_overlapped(
            paths, read, self._predict, write, batch=self.work.batch, concurrency=self.model.concurrency
        )
        for path, error in found:
            if error is not None:
                rows[path] = {"path": path, "error": error.what}
        write_part(self.work.out, [rows[path] for path in paths])
        failed = sum("error" in row for row in rows.values())
        return {"done": [len(rows) - failed], "failed": [failed]}

    def _predict(self, images: Sequence[Image]) -> Sequence[Prediction]:
        tiles = self.work.tiles
        if tiles is None:
            found = self.model.batch(images)
        else:
            found = [predict_tiled(self.model, image, tiles, only=("confidence",)) for image in images]
        return [sure(prediction, self.work.threshold) for prediction in found]


def _row(path: str, mask: str, prediction: Prediction, classes: int) -> dict[str, Any]:
    labels = prediction.labels
    return {
        "path": path,
        "mask": mask,
        "height": labels.shape[0],
        "width": labels.shape[1],
        "mean_confidence": float(prediction.confidence.mean()),
        "class_pixels": np.bincount(labels.ravel(), minlength=classes)[:classes].tolist(),
    }
