"""segtool predict --map: images in windows, with their place on earth."""

import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from segtool.cli.options import echo, progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from segtool.card import ModelCard
    from segtool.images import RGB
    from segtool.runtime import BackendName, Model, Tiles
    from segtool.runtime.local import Task
    from segtool.runtime.maps.blending import Logits

_TILE, _OVERLAP = 1024, 256


class MapJob(NamedTuple):
    """How maps are segmented."""

    logits: "Logits"
    card: "ModelCard"
    tiles: "Tiles"
    bands: tuple[int, ...] | None
    threshold: float | None
    origin: str


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """Such as 4,3,2.

    Raises:
        SegtoolError: anything else.
    """
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        from segtool.errors import SegtoolError

        raise SegtoolError("--bands must be three numbers", where=text, mend="red, green and blue, such as 3,2,1")
    return tuple(int(part) for part in parts)


def run_map(
    model: Path,
    backend: "BackendName",
    entries: list[Path],
    out: Path,
    tiles: "Tiles | None",
    bands: tuple[int, ...] | None,
    resume: bool,
    threshold: float | None,
) -> None:
    """Segments images in windows; OUT/NAME.tif for each.

    Raises:
        SegtoolError: nothing to segment, a model that gives no logits; or, after all others are done, what failed.
    """
    from segtool.cli.models import open_model, weights_of
    from segtool.errors import NoMoreRoom, SegtoolError
    from segtool.files import ensure_folder
    from segtool.runtime.local import origin_of, tasks_of
    from segtool.runtime.maps.gdal import rasterio_api
    from segtool.sources import left_alone, no_images

    rasterio_api()
    found = tasks_of(entries, out, check=False)
    if not found.images:
        raise no_images(", ".join(map(str, entries)), found.others)
    predictor, card = open_model(model, backend=backend)
    logits, tiles = _logits_of(predictor, tiles)
    origin = origin_of(weights_of(model), tiles, False, threshold) + f" map {bands}"
    job = MapJob(logits, card, tiles, bands, threshold, origin)
    _check_targets(found.images)
    ensure_folder(out)
    left = [task for task in found.images if not (resume and _is_done(task, job))]
    failed: list[SegtoolError] = []
    for task in left:
        try:
            _segment(task, job)
        except SegtoolError as error:
            failed.append(error.about(task.source))
            if isinstance(error, NoMoreRoom):
                break
    skipped = len(found.images) - len(left)
    before = f", {skipped} of them before" if skipped else ""
    written = skipped + len(left) - len(failed)
    others = [*found.others, *(video.source.name for video in found.videos)]
    echo(f"{written} of {len(found.images)} maps written to {out}{before}{left_alone(others)}")
    if failed:
        from segtool.cli.boundary import tell

        for other in failed[:-1]:
            tell(other)
        raise failed[-1]


def _logits_of(predictor: Any, tiles: "Tiles | None") -> "tuple[Logits, Tiles]":
    """What gives logits, and the tiles that it takes.

    Raises:
        SegtoolError: a model that gives none, or takes one size alone that is not the tiles'.
    """
    from segtool.errors import SegtoolError
    from segtool.runtime import Model, Tiles

    if not isinstance(predictor, Model):  # PyTorch
        return predictor.logits, tiles or Tiles(_TILE, _TILE, _OVERLAP)
    predictor.check_logits()
    height, width = predictor.backend.size
    if height is None or width is None:
        return predictor.logits, tiles or Tiles(_TILE, _TILE, _OVERLAP)
    if tiles is not None and (tiles.height, tiles.width) != (height, width):
        raise SegtoolError("the model takes one size alone", where="--tile", mend=f"--tile {height}x{width}")
    return partial(_continued, predictor, height, width), tiles or Tiles(height, width, min(height, width) // 4)


def _continued(model: "Model", height: int, width: int, image: "RGB") -> "NDArray[np.float32]":
    """The logits of an image that is smaller than the model's size: continued by its mirror image, and cut again."""
    import numpy as np

    down, right = height - image.shape[0], width - image.shape[1]
    whole = np.pad(image, [(0, down), (0, right), (0, 0)], "symmetric") if down or right else image
    return model.logits(whole)[:, : image.shape[0], : image.shape[1]]


def _check_targets(tasks: "Sequence[Task]") -> None:
    """Before hours of work: whether a map would take the place of an image, or of a file that is not segtool's.

    Raises:
        SegtoolError: one would.
    """
    from segtool.errors import SegtoolError
    from segtool.runtime.maps.writing import is_map_of_ours

    sources = {os.path.realpath(task.source) for task in tasks}
    for target in map(_target, tasks):
        if os.path.realpath(target) in sources or (target.exists() and not is_map_of_ours(target)):
            raise SegtoolError("the result would overwrite an image", where=target, mend="choose another --out")


def _target(task: "Task") -> Path:
    return task.target.with_name(f"{task.target.name}.tif")


def _is_done(task: "Task", job: MapJob) -> bool:
    from segtool.runtime.local import note_of
    from segtool.runtime.maps.writing import note_of_map

    target = _target(task)
    return target.is_file() and note_of_map(target) == note_of(job.origin, task.source)


def _segment(task: "Task", job: MapJob) -> None:
    from segtool.files import ensure_folder
    from segtool.runtime.local import note_of
    from segtool.runtime.maps import segment_map
    from segtool.runtime.maps.reading import opened
    from segtool.runtime.maps.segment import void_where
    from segtool.runtime.maps.writing import write_labels

    note, target = note_of(job.origin, task.source), _target(task)
    ensure_folder(target.parent)
    with (
        opened(task.source, job.bands) as source,
        progress_bar(task.source.name) as progress,
        TemporaryDirectory(prefix=".segtool-", dir=target.parent) as folder,
    ):
        parts = segment_map(job.logits, job.card, source, job.tiles, Path(folder), progress)
        voided = (void_where(part, source.missing(part.rows, part.columns), job.threshold) for part in parts)
        write_labels(target, source, voided, job.card.colors, note)
