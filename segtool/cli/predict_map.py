"""segtool predict --map: images in windows, with their place on earth."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segtool.cli.options import echo, progress_bar
from segtool.cli.predict_polygons import BACKGROUND, Polygons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segtool.card import ModelCard
    from segtool.runtime import BackendName, Tiles
    from segtool.runtime.local import Task
    from segtool.runtime.maps.job import MapJob


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """Such as 4,3,2.

    Raises:
        SegtoolError: anything else.
    """
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        from segtool.errors import SegtoolError

        raise SegtoolError("--bands must be numbers", where=text, mend="of red, green and blue, such as 3,2,1")
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
    polygons: Polygons | None,
) -> None:
    """Segments images in windows; OUT/NAME.tif for each, and beside it polygons if they are wanted.

    Raises:
        SegtoolError: nothing to segment, a model that gives no logits; or, after all others are done, what failed.
    """
    from segtool.cli.models import open_model, weights_of
    from segtool.errors import NoMoreRoom, SegtoolError
    from segtool.files import ensure_folder
    from segtool.gdal import rasterio_api
    from segtool.runtime.local import origin_of, tasks_of
    from segtool.runtime.maps.job import map_job
    from segtool.sources import left_alone, no_images

    rasterio_api()
    found = tasks_of(entries, out, check=False)
    if not found.images:
        raise no_images(", ".join(map(str, entries)), found.others)
    predictor, card = open_model(model, backend=backend)
    job = map_job(predictor, card, tiles, bands, threshold)
    origin = origin_of(weights_of(model), job.tiles, False, threshold) + f" map {bands}"
    _check_targets(found.images, polygons, resume)
    ensure_folder(out)
    written, skipped, failed = 0, 0, list[SegtoolError]()
    for task in found.images:
        try:
            skipped += _segment(task, job, origin, resume)
            if polygons is not None:
                _draw(task, polygons, card)
            written += 1
        except SegtoolError as error:
            failed.append(error.about(task.source))
            if isinstance(error, NoMoreRoom):
                break
    before = f", {skipped} of them before" if skipped else ""
    others = [*found.others, *(video.source.name for video in found.videos)]
    echo(f"{written} of {len(found.images)} maps written to {out}{before}{left_alone(others)}")
    if failed:
        from segtool.cli.boundary import tell

        for other in failed[:-1]:
            tell(other)
        raise failed[-1]


def _check_targets(tasks: "Sequence[Task]", polygons: Polygons | None, resume: bool) -> None:
    """Before hours of work: whether a map would take the place of an image, or of a file that is not segtool's; whether
    polygons can be made, and would overwrite some.

    Raises:
        SegtoolError: one would.
    """
    from segtool.errors import SegtoolError
    from segtool.runtime.maps.writing import is_map_of_ours

    sources = {os.path.realpath(task.source) for task in tasks}
    for target in map(_target, tasks):
        if os.path.realpath(target) in sources or (target.exists() and not is_map_of_ours(target)):
            raise SegtoolError("the result would overwrite an image", where=target, mend="choose another --out")
    if polygons is None:
        return
    from segtool.data.polygons.maps import check_installed

    check_installed()
    there = next((path for path in (_drawn(task, polygons) for task in tasks) if path.exists()), None)
    if there is not None and not resume:
        mend = "polygons are not overwritten, as they may be corrected: move it away, or choose another --out"
        raise SegtoolError("there are polygons already", where=there, mend=mend)


def _target(task: "Task") -> Path:
    return task.target.with_name(f"{task.target.name}.tif")


def _drawn(task: "Task", polygons: Polygons) -> Path:
    return task.target.with_name(f"{task.target.name}.{polygons.form}")


def _segment(task: "Task", job: "MapJob", origin: str, resume: bool) -> bool:
    """Whether the map was there already."""
    from segtool.runtime.local import note_of
    from segtool.runtime.maps.job import segment_file
    from segtool.runtime.maps.writing import note_of_map

    note, target = note_of(origin, task.source), _target(task)
    if resume and target.is_file() and note_of_map(target) == note:
        return True
    with progress_bar(task.source.name) as progress:
        segment_file(task.source, target, job, note, progress)
    return False


def _draw(task: "Task", polygons: Polygons, card: "ModelCard") -> None:
    """The polygons of a map that has none yet, of every class but one that is called background."""
    from segtool.data.polygons.maps import write_map_polygons

    path = _drawn(task, polygons)
    if path.exists():
        return
    classes = [c for c in card.classes if c.name.lower() != BACKGROUND]
    form: Any = polygons.form  # click knows which there are
    count = write_map_polygons(form, _target(task), path, classes, polygons.simplify, polygons.smallest)
    echo(f"written: {path} ({count} polygons)")
