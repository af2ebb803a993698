"""From an image file to a file of labels, in windows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.card import ModelCard
from segtool.errors import SegtoolError
from segtool.files import ensure_folder
from segtool.readers import Image
from segtool.runtime.maps.blending import Logits
from segtool.runtime.maps.reading import opened
from segtool.runtime.maps.segment import Part, Progress, segment_map, void_where
from segtool.runtime.maps.writing import write_labels
from segtool.runtime.model import Model
from segtool.runtime.tiles import Tiles

_TILE, _OVERLAP = 1024, 256


class MapJob(NamedTuple):
    """How maps are segmented.

    Attributes:
        logits: of an image those before any dense CRF.
        bands: of the files, which are the model's channels; None: see `segtool.runtime.maps.reading.opened`.
        threshold: below which confidence pixels are void.
    """

    logits: Logits
    card: ModelCard
    tiles: Tiles
    bands: tuple[int, ...] | None = None
    threshold: float | None = None


def map_job(
    predictor: Any,
    card: ModelCard,
    tiles: Tiles | None,
    bands: tuple[int, ...] | None = None,
    threshold: float | None = None,
) -> MapJob:
    """The job of a model.

    Args:
        predictor: a `Model`, or in PyTorch what has `logits`, too.
        tiles: what the network sees; by default what it takes, or 1024 pixels.

    Raises:
        SegtoolError: a model that gives no logits, or takes one size alone that is not the tiles'.
    """
    usual = tiles or Tiles(_TILE, _TILE, _OVERLAP)
    if not isinstance(predictor, Model):  # PyTorch
        return MapJob(predictor.logits, card, usual, bands, threshold)
    predictor.check_logits()
    height, width = predictor.backend.size
    if height is None or width is None:
        return MapJob(predictor.logits, card, usual, bands, threshold)
    if tiles is not None and (tiles.height, tiles.width) != (height, width):
        raise SegtoolError("the model takes one size alone", where="--tile", mend=f"--tile {height}x{width}")
    fixed = tiles or Tiles(height, width, min(height, width) // 4)
    return MapJob(partial(_continued, predictor, height, width), card, fixed, bands, threshold)


def segment_file(
    source: Path,
    target: Path,
    job: MapJob,
    note: str = "",
    progress: Progress = lambda done, total: None,
    look: Callable[[Part], object] = lambda part: None,
    threads: int = 0,
) -> None:
    """Writes the labels of an image file, see `segtool.runtime.maps.writing.write_labels`.

    Args:
        note: is kept in the file.
        look: is called with every part that is written.
        threads: of the CRF; 0: see `segtool.crf.native`.

    Raises:
        SegtoolError: it cannot be read, or the labels not be written.
    """
    ensure_folder(target.parent)
    with opened(source, job.bands, job.card.input) as image, _beside(target) as folder:
        parts = segment_map(job.logits, job.card, image, job.tiles, folder, progress, threads)
        voided = (void_where(part, image.missing(part.rows, part.columns), job.threshold) for part in parts)
        write_labels(target, image, _seen(voided, look), job.card.colors, note)


def _seen(parts: Iterator[Part], look: Callable[[Part], object]) -> Iterator[Part]:
    for part in parts:
        look(part)
        yield part


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    with TemporaryDirectory(prefix=".segtool-", dir=target.parent) as folder:
        yield Path(folder)


def _continued(model: Model, height: int, width: int, image: Image) -> NDArray[np.float32]:
    """The logits of an image that is smaller than the model's size: continued by its mirror image, and cut again."""
    down, right = height - image.shape[0], width - image.shape[1]
    whole = np.pad(image, [(0, down), (0, right), (0, 0)], "symmetric") if down or right else image
    return model.logits(whole)[:, : image.shape[0], : image.shape[1]]
