"""segtool predict on this machine, without Ray."""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segtool.cli.options import echo, progress_bar
from segtool.cli.predict_polygons import check_names
from segtool.cli.predict_polygons import write as write_polygons
from segtool.errors import SegtoolError

_NOT_DONE = SegtoolError("there was no room")

if TYPE_CHECKING:
    from segtool.card import ModelCard
    from segtool.cli.predict_polygons import Polygons
    from segtool.prediction import Prediction
    from segtool.readers import Image
    from segtool.runtime import BackendName, Tiles
    from segtool.runtime.local import Task

    Predict = Callable[[Sequence[Image]], Sequence[Prediction]]


def run_here(
    model: Path,
    backend: "BackendName",
    entries: list[Path],
    out: Path,
    batch: int,
    tiles: "Tiles | None",
    frames: bool,
    resume: bool,
    threshold: float | None,
    polygons: "Polygons | None",
) -> None:
    """Segments images and videos; see `segtool predict`.

    Raises:
        SegtoolError: nothing to segment; or, after all others are done, what failed.
    """
    from segtool.cli.models import open_model, weights_of
    from segtool.errors import NoMoreRoom
    from segtool.files import ensure_folder
    from segtool.runtime.local import Job, is_done, origin_of, segment_film, segment_images, tasks_of
    from segtool.sources import left_alone, no_images

    found = tasks_of(entries, out)
    total = len(found.images) + len(found.videos)
    if not total:
        raise no_images(", ".join(map(str, entries)), found.others)
    described = threshold is not None and len(entries) == 1 and entries[0].is_dir()
    if described:
        from segtool.data.pseudo import check_describable

        check_describable(entries[0], out, [(task.source, task.target) for task in found.images])
    if polygons is not None:
        check_names(polygons, out, found.images, entries, resume)
    predictor, card = open_model(model, backend=backend)
    predict = in_batches(predictor) if tiles is None else _in_tiles(predictor, tiles, threshold is not None)
    if threshold is not None:
        predict = _sure(predict, threshold)
    origin = origin_of(weights_of(model), tiles, frames, threshold)
    ensure_folder(out)
    images, videos = ([t for t in part if not (resume and is_done(t, origin))] for part in (found.images, found.videos))
    concurrency = getattr(predictor, "concurrency", 1)  # PyTorch has none
    job = Job(predict, card, origin, 1 if tiles else batch, concurrency, frames)
    with progress_bar("predicting") as progress:
        outcomes = segment_images(images, job, progress)
    for video in videos:
        if outcomes and isinstance(outcomes[-1], NoMoreRoom):
            break
        with progress_bar(video.source.name) as progress:
            outcomes.append(segment_film(video, job, progress))
    failed = [error for error in outcomes if error is not None]
    skipped = total - len(images) - len(videos)
    before = f", {skipped} of them before" if skipped else ""
    what = "files" if found.videos else "images"
    written = skipped + len(outcomes) - len(failed)
    echo(f"{written} of {total} {what} written to {out}{before}{left_alone(found.others)}")
    without = {task for task, error in zip_longest(images, outcomes[: len(images)], fillvalue=_NOT_DONE) if error}
    masks = [task for task in found.images if task not in without]
    try:
        if polygons is not None and masks:
            write_polygons(polygons, out, masks, entries, card)
        if described and masks:
            _describe(entries[0], out, masks, card)
    except SegtoolError as error:
        failed.append(error)
    if failed:
        from segtool.cli.boundary import tell

        for other in failed[:-1]:
            tell(other)
        raise failed[-1]


def in_batches(predictor: Any) -> "Predict":
    """A function of several images, of what PyTorch or a runtime gives."""
    batched = getattr(predictor, "batch", None)  # PyTorch takes one image at a time
    return batched or (lambda images: [predictor(image) for image in images])


def _in_tiles(predictor: Any, tiles: "Tiles", confidence: bool) -> "Predict":
    from segtool.runtime.tiles import predict_tiled

    only = ("confidence",) if confidence else ()
    return lambda images: [predict_tiled(predictor, image, tiles, only=only) for image in images]


def _sure(predict: "Predict", threshold: float) -> "Predict":
    from segtool.prediction import sure

    return lambda images: [sure(prediction, threshold) for prediction in predict(images)]


def _describe(images: Path, out: Path, tasks: "Sequence[Task]", card: "ModelCard") -> None:
    from segtool.data.pseudo import describe_masks

    names = [task.target.relative_to(out).as_posix() for task in tasks]
    echo(f"written: {describe_masks(images, out, names, card.classes)}")
