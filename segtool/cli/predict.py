"""segtool predict"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
    from segtool.card import ModelCard
    from segtool.errors import SegtoolError
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
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1), help="Images of one size at a time.")
@click.option("--tile", metavar="HxW", help="Cut larger images into overlapping tiles of that size.")
@click.option("--overlap", type=click.IntRange(0), help="Of tiles, in pixels.  [default: 128, or a quarter of a tile]")
@click.option("--frames", is_flag=True, help="Of a video, also write the mask of each frame.")
@click.option("--address", help="Use Ray Data: local, or the address of a Ray cluster, such as auto.")
@replica_options
@click.option("--retry", is_flag=True, help="With --address: also the images that failed before.")
@backend_option
def command(
    model: Path,
    images: tuple[str, ...],
    out: str,
    batch: int,
    tile: str | None,
    overlap: int | None,
    frames: bool,
    address: str | None,
    replicas: int,
    cpus: float | None,
    gpus: float,
    retry: bool,
    backend: "BackendName",
) -> None:
    """Segment IMAGES (images, videos, or folders of images).

    For each image OUT holds NAME.png, a palette mask of class ids, and NAME_overlay.jpg to look at; for each video
    NAME_overlay.mp4. Reading, inference and writing overlap. Unreadable images are listed at the end and the others are
    done all the same.

    With --address, IMAGES is one folder or address of object storage (s3://, gs://) with any number of images below it.
    OUT, which may be an address too, then holds masks/PATH.png for each and index.parquet. Stopped anywhere, the same
    command goes on where it was.
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
    from segtool.cli.models import open_model
    from segtool.files import ensure_folder
    from segtool.images import VIDEO_SUFFIXES

    paths, folder = _expand([Path(image) for image in images]), Path(out)
    _check_results(paths, folder)
    predictor, card = open_model(model, backend=backend)
    predict = _in_batches(predictor) if tiles is None else _in_tiles(predictor, tiles)
    ensure_folder(folder)
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    pictures = [path for path in paths if path not in videos]
    pace = _Pace(1 if tile else batch, getattr(predictor, "concurrency", 1))  # PyTorch has none
    failed = _images(pictures, predict, card, folder, pace) + [
        error for path in videos if (error := _video(path, predict, card, folder, pace, frames)) is not None
    ]
    echo(f"{len(paths) - len(failed)} of {len(paths)} {'files' if videos else 'images'} written to {out}")
    if failed:
        for other in failed[1:]:
            click.echo(f"segtool: {other}", err=True)
        raise failed[0]


def _one_folder(images: tuple[str, ...]) -> str:
    from segtool.errors import SegtoolError

    if len(images) > 1:
        raise SegtoolError("--address takes one folder", where=", ".join(images), mend="run the command for each")
    return images[0]


def _in_bulk(plan: "Plan", address: str) -> None:
    from segtool.runtime.bulk.job import run

    with progress_bar("predicting") as progress:
        totals = run(plan, None if address == "local" else address, progress)
    skipped = f", {totals.skipped} of them before" if totals.skipped else ""
    echo(f"{totals.done} of {totals.found} images written to {plan.out}{skipped}")
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

    return lambda images: [predict_tiled(predictor, image, tiles) for image in images]


class _Pace(NamedTuple):
    """Images in a run, and runs at once."""

    batch: int
    concurrency: int


def _images(paths: list[Path], predict: "Predict", card: "ModelCard", out: Path, pace: _Pace) -> "list[SegtoolError]":
    from segtool.images import overlay, read_image, save_image, save_label_map
    from segtool.runtime.pipeline import run_overlapped

    def write(path: Path, image: "RGB", prediction: "Prediction") -> None:
        mask, mixed = _results(path, out)
        save_label_map(mask, prediction.labels, card.colors)
        save_image(mixed, overlay(image, prediction.labels, card.colors))

    failed = []
    with progress_bar("predicting") as progress:
        outcomes = run_overlapped(paths, read_image, predict, write, **pace._asdict())
        for done, (path, error) in enumerate(outcomes, start=1):
            if error is not None:
                failed.append(error.about(path))
            progress(done, len(paths))
    return failed


def _video(
    path: Path, predict: "Predict", card: "ModelCard", out: Path, pace: _Pace, frames: bool
) -> "SegtoolError | None":
    from segtool.errors import SegtoolError
    from segtool.images import save_label_map
    from segtool.runtime.video import segment_video

    def save(number: int, prediction: "Prediction") -> None:
        save_label_map(out / path.stem / f"{number:06d}.png", prediction.labels, card.colors)

    (target,) = _results(path, out)
    run = partial(segment_video, path, target, predict, card.colors, **pace._asdict())
    try:
        with progress_bar(path.name) as progress:
            run(each=save if frames else None, progress=progress)
    except SegtoolError as error:
        return error
    return None


def _expand(images: list[Path]) -> list[Path]:
    from segtool.errors import SegtoolError
    from segtool.images import list_images

    paths = [p for entry in images for p in (list_images(entry) if entry.is_dir() else [entry])]
    if not paths:
        raise SegtoolError("no images", where=", ".join(map(str, images)))
    return paths


def _results(path: Path, out: Path) -> list[Path]:
    """What is written for an image: mask and overlay; for a video: the overlay."""
    from segtool.images import VIDEO_SUFFIXES

    is_video = path.suffix.lower() in VIDEO_SUFFIXES
    endings = ["_overlay.mp4"] if is_video else [".png", "_overlay.jpg"]
    return [out / f"{path.stem}{ending}" for ending in endings]


def _check_results(paths: list[Path], out: Path) -> None:
    """Refuses what would overwrite an image, or one result another."""
    from segtool.errors import SegtoolError

    given = {path.resolve() for path in paths}
    sources: dict[Path, Path] = {}
    for path in paths:
        for result in _results(path, out):
            if result.resolve() in given:
                raise SegtoolError("the result would overwrite an image", where=result, mend="choose another --out")
            if result in sources:
                raise SegtoolError(
                    "two images would write the same result",
                    where=f"{sources[result]} and {path}",
                    mend="predict them apart",
                )
            sources[result] = path
