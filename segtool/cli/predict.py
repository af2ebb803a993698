"""segtool predict"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segtool.cli.options import (
    backend_option,
    echo,
    exported,
    model_argument,
    parse_size,
    progress_bar,
    replica_options,
    share_of_cores,
)

if TYPE_CHECKING:
    from segtool.images import RGB
    from segtool.prediction import Prediction
    from segtool.runtime import BackendName, Tiles
    from segtool.runtime.bulk.job import Plan

    Predict = Callable[[Sequence[RGB]], Sequence[Prediction]]

_OVERLAP = 128  # of tiles, pixels


@click.command("predict")
@model_argument
@click.argument("images", nargs=-1, required=True)
@click.option("--out", required=True, help="Folder for the results.")
@click.option(
    "--batch", default=1, show_default=True, type=click.IntRange(1), help="Images per run; they must have one size."
)
@click.option("--tile", metavar="HxW", help="Cut larger images into overlapping tiles of that size.")
@click.option(
    "--overlap", type=click.IntRange(0), help="Overlap of tiles, in pixels.  [default: 128, or a quarter of a tile]"
)
@click.option("--frames", is_flag=True, help="Also write a mask for each frame of a video.")
@click.option("--resume", is_flag=True, help="Skip what this model has done already.")
@click.option("--address", help="Run on Ray Data: local, or the address of a Ray cluster, such as auto.")
@replica_options
@click.option("--retry", is_flag=True, help="With --address: try images that failed before again.")
@backend_option
def command(
    model: Path,
    images: tuple[str, ...],
    out: str,
    batch: int,
    tile: str | None,
    overlap: int | None,
    frames: bool,
    resume: bool,
    address: str | None,
    replicas: int,
    cpus: float | None,
    gpus: float,
    retry: bool,
    backend: "BackendName",
) -> None:
    """Segment IMAGES (images, videos, or folders of both with all that is below them).

    For an image PATH/NAME.jpg of a folder OUT holds PATH/NAME.png, a palette mask of class ids, and
    PATH/NAME_overlay.jpg to look at; for a video PATH/NAME_overlay.mp4. Where two would have one name, it has the
    suffix too: NAME_jpg.png. Reading, inference and writing overlap. Unreadable images are listed at the end and the
    others are done all the same; files that are neither images nor videos are counted.

    --resume goes on where a run was stopped: results stay that are whole, of the same model and options, and of a file
    that has not changed.

    With --address, IMAGES is one folder or address of object storage (s3://, gs://) with any number of images below it.
    OUT, which may be an address too, then holds the masks alone, under the same names, and index.parquet. Stopped
    anywhere, the same command goes on where it was.
    """
    tiles = None if tile is None else _tiles(tile, overlap)
    if address is not None:
        from segtool.runtime.bulk.job import Plan

        plan = Plan(
            model=exported(model),
            images=_one_folder(images),
            out=out,
            backend=backend,
            replicas=replicas,
            cpus=cpus or share_of_cores(replicas, address),
            gpus=gpus,
            batch=batch,
            tiles=tiles,
            retry=retry,
        )
        _in_bulk(plan, address)
        return
    _here(model, backend, [Path(image) for image in images], Path(out), batch, tiles, frames, resume)


def _here(
    model: Path,
    backend: "BackendName",
    entries: list[Path],
    out: Path,
    batch: int,
    tiles: "Tiles | None",
    frames: bool,
    resume: bool,
) -> None:
    from segtool.cli.models import open_model, weights_of
    from segtool.errors import NoMoreRoom
    from segtool.files import ensure_folder
    from segtool.runtime.local import Job, is_done, origin_of, segment_film, segment_images, tasks_of
    from segtool.sources import left_alone, no_images

    found = tasks_of(entries, out)
    total = len(found.images) + len(found.videos)
    if not total:
        raise no_images(", ".join(map(str, entries)), found.others)
    predictor, card = open_model(model, backend=backend)
    predict = _in_batches(predictor) if tiles is None else _in_tiles(predictor, tiles)
    origin = origin_of(weights_of(model), tiles, frames)
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
    if failed:
        from segtool.cli.boundary import tell

        for other in failed[:-1]:
            tell(other)
        raise failed[-1]


def _one_folder(images: tuple[str, ...]) -> str:
    from segtool.errors import SegtoolError

    if len(images) > 1:
        raise SegtoolError("--address takes one folder", where=", ".join(images), mend="run the command for each")
    return images[0]


def _in_bulk(plan: "Plan", address: str) -> None:
    from segtool.runtime.bulk.job import run
    from segtool.sources import left_alone

    with progress_bar("predicting") as progress:
        totals = run(plan, None if address == "local" else address, progress)
    skipped = f", {totals.skipped} of them before" if totals.skipped else ""
    echo(f"{totals.done} of {totals.found} images written to {plan.out}{skipped}{left_alone(totals.others)}")
    if totals.failed:
        from segtool.errors import SegtoolError

        raise SegtoolError(f"{totals.failed} images failed; why is in index.parquet", mend="--retry tries them again")


def _in_batches(predictor: Any) -> "Predict":
    batched = getattr(predictor, "batch", None)  # PyTorch takes one image at a time
    return batched or (lambda images: [predictor(image) for image in images])


def _tiles(size: str, overlap: int | None) -> "Tiles":
    from segtool.runtime.tiles import Tiles, check_tiles

    height, width = parse_size(size, "--tile")
    tiles = Tiles(height, width, min(_OVERLAP, min(height, width) // 4) if overlap is None else overlap)
    check_tiles(tiles)
    return tiles


def _in_tiles(predictor: Any, tiles: "Tiles") -> "Predict":
    from segtool.runtime.tiles import predict_tiled

    return lambda images: [predict_tiled(predictor, image, tiles, only=()) for image in images]
