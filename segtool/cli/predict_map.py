"""segtool predict --map: images in windows, with their place on earth."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segtool.cli.options import echo, progress_bar

if TYPE_CHECKING:
    from segtool.card import ModelCard
    from segtool.runtime import BackendName, Tiles
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


def default_tiles() -> "Tiles":
    """Of maps, unless the user says otherwise."""
    from segtool.runtime import Tiles

    return Tiles(_TILE, _TILE, _OVERLAP)


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
    tiles: "Tiles",
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
    from segtool.runtime.maps.geotiff import rasterio_api
    from segtool.sources import left_alone, no_images

    rasterio_api()
    found = tasks_of(entries, out)
    if not found.images:
        raise no_images(", ".join(map(str, entries)), found.others)
    predictor, card = open_model(model, backend=backend)
    origin = origin_of(weights_of(model), tiles, False, threshold) + f" map {bands}"
    job = MapJob(predictor.logits, card, tiles, bands, threshold, origin)  # type: ignore[attr-defined]  # both have it
    _check_logits(predictor)
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


def _check_logits(predictor: object) -> None:
    """Before anything is written."""
    from segtool.runtime import Model

    if isinstance(predictor, Model):
        predictor.check_logits()


def _target(task: "Task") -> Path:
    return task.target.with_name(f"{task.target.name}.tif")


def _is_done(task: "Task", job: MapJob) -> bool:
    from segtool.runtime.local import note_of
    from segtool.runtime.maps.geotiff import note_of_map

    target = _target(task)
    return target.is_file() and note_of_map(target) == note_of(job.origin, task.source)


def _segment(task: "Task", job: MapJob) -> None:
    from segtool.errors import SegtoolError
    from segtool.runtime.local import note_of
    from segtool.runtime.maps import segment_map
    from segtool.runtime.maps.geotiff import opened, write_labels
    from segtool.runtime.maps.segment import void_where

    note, target = note_of(job.origin, task.source), _target(task)
    if target.resolve() == task.source.resolve():
        raise SegtoolError("the result would overwrite an image", where=target, mend="choose another --out")
    with opened(task.source, job.bands) as source, progress_bar(task.source.name) as progress:
        parts = segment_map(job.logits, job.card, source, job.tiles, progress)
        voided = (void_where(part, source.missing(part.rows, part.columns), job.threshold) for part in parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_labels(target, source, voided, job.card.colors, note)
