"""segtool predict"""

from pathlib import Path
from typing import TYPE_CHECKING

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
from segtool.cli.predict_here import run_here
from segtool.cli.predict_map import parse_bands, run_map
from segtool.cli.predict_polygons import Polygons, check_installed, polygon_options

if TYPE_CHECKING:
    from segtool.runtime import BackendName, Tiles
    from segtool.runtime.bulk.job import Plan

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
@click.option("--map", "as_map", is_flag=True, help="Read images in windows, of any size, and write GeoTIFFs.")
@click.option("--bands", metavar="N,N,N", help="With --map: the bands of the file that the network is to see.")
@click.option("--frames", is_flag=True, help="Also write a mask for each frame of a video.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Void (255) where the winning class is less probable: pseudo-labels to train on.",
)
@polygon_options
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
    as_map: bool,
    bands: str | None,
    frames: bool,
    threshold: float | None,
    form: str | None,
    simplify: float,
    smallest: int,
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

    --threshold writes OUT/classes.yaml, too, where IMAGES is one folder: segtool train --also folder:OUT takes it.
    --format writes polygons of all classes but background: OUT/annotations.json (coco) or annotations.xml (cvat), or a
    file for each image (labelme, geojson, and yolo with data.yaml).

    --map takes images that are larger than memory. OUT/PATH/NAME.tif is a GeoTIFF of class ids with the image's place
    on earth, and void where it has no data. Tiles (1024x1024, overlapping by 256, unless --tile says otherwise) are
    blended before the CRF sees them, so that there are no seams. MODEL is a run folder, or a file of segtool export
    --logits.

    --resume goes on where a run was stopped: results stay that are whole, of the same model and options, and of a file
    that has not changed.

    With --address, IMAGES is one folder or address of object storage (s3://, gs://) with any number of images below it.
    OUT, which may be an address too, then holds the masks alone, under the same names, and index.parquet. Stopped
    anywhere, the same command goes on where it was.
    """
    tiles = None if tile is None else _tiles(tile, overlap)
    polygons = None if form is None else Polygons(form, simplify, smallest)
    if polygons is not None:
        _check_polygons(polygons.form, address, as_map)
    if as_map or bands is not None:
        _check_map(as_map, frames, batch)
    chosen = parse_bands(bands)
    if as_map and address is None:
        run_map(model, backend, [*map(Path, images)], Path(out), tiles, chosen, resume, threshold, polygons)
        return
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
            threshold=threshold,
            maps=as_map,
            bands=chosen,
        )
        _in_bulk(plan, address)
        return
    entries = [Path(image) for image in images]
    run_here(model, backend, entries, Path(out), batch, tiles, frames, resume, threshold, polygons)


def _check_map(as_map: bool, frames: bool, batch: int) -> None:
    from segtool.errors import SegtoolError

    if not as_map:
        raise SegtoolError("--bands needs --map")
    given = {"--frames": frames, "--batch": batch > 1}
    for option in (option for option, value in given.items() if value):
        raise SegtoolError(f"--map does not go with {option}", mend="leave one of them out")


def _check_polygons(form: str, address: str | None, as_map: bool) -> None:
    from segtool.errors import SegtoolError

    if as_map and form not in ("geojson", "gpkg"):
        mend = "--format geojson or gpkg: the polygons of maps are in their coordinates"
        raise SegtoolError(f"--map does not go with --format {form}", mend=mend)
    if form == "gpkg" and not as_map:
        raise SegtoolError("--format gpkg is for maps", mend="add --map, or --format geojson")

    if address is not None:
        mend = "without --address the same command writes them on this machine"
        raise SegtoolError("--address writes masks, no polygons", where="--format", mend=mend)
    check_installed()


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


def _tiles(size: str, overlap: int | None) -> "Tiles":
    from segtool.runtime.tiles import Tiles, check_tiles

    height, width = parse_size(size, "--tile")
    tiles = Tiles(height, width, min(_OVERLAP, min(height, width) // 4) if overlap is None else overlap)
    check_tiles(tiles)
    return tiles
