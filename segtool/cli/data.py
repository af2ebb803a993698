"""segtool data"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segtool.cli.data_write import convert, counted, init, opened_splits
from segtool.cli.data_write import split as split_command
from segtool.cli.options import check_suffix, echo, progress_bar
from segtool.cli.rank import command as rank_command

if TYPE_CHECKING:
    from segtool.data.checks.inspection import Inspection
    from segtool.data.statistics import Statistics

_spec = click.argument("spec")
_split = click.option("--split", default="train", show_default=True)


@click.group("data")
def command() -> None:
    """Look at a dataset (check, stats, show), describe it (init), deal it to splits (split), rewrite it (convert).

    SPEC is name:path, such as folder:PATH, coco:FILE.json, yolo:PATH, labelme:PATH, cvat:PATH, labelstudio:FILE.json,
    camvid:PATH, voc:PATH, cityscapes:PATH, ade20k:PATH or synthetic; FILE.py:name:path opens a dataset that FILE.py
    registers.
    """


@command.command("check")
@_spec
@click.option("--split", "splits", multiple=True, help="[default: train and val]")
def check(spec: str, splits: tuple[str, ...]) -> None:
    """Read every image and mask, and list all that is wrong or looks wrong.

    Exits with 1 if there are problems. Warnings are about what may be meant.
    """
    from segtool.data.checks.inspection import Inspection, shared_pictures, unlike_bands

    found: list[Inspection] = []
    for split, dataset in opened_splits(spec, splits, ("train", "val"), complete=False).items():
        with progress_bar(f"checking {split}") as progress:
            inspection = Inspection(dataset, split.startswith("train"), progress)
        for trained in found:
            if trained.training and not inspection.training:
                inspection.doubts += shared_pictures(trained, inspection)
                inspection.problems += unlike_bands(trained, inspection)
        _print_inspection(split, inspection)
        found.append(inspection)
    problems, warnings = (sum(len(getattr(i, kind)) for i in found) for kind in ("problems", "doubts"))
    said = counted(problems, "problem") if problems else "no problems"
    echo(said + (f", {counted(warnings, 'warning')}" if warnings else ""))
    if problems:
        sys.exit(1)


def _print_inspection(split: str, found: "Inspection") -> None:
    """One line a kind, problems first."""
    from segtool.data.checks.findings import grouped

    for group in grouped(found.problems):
        echo(f"{split}: {group}")
    for group in grouped(found.doubts):
        echo(f"{split}: warning: {group}")
    echo(f"{split}: {counted(len(found.dataset), 'image')} with masks, {len(found.dataset.classes)} classes")


@command.command("stats")
@_spec
@_split
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the class frequencies here.")
def stats(spec: str, split: str, plot: Path | None) -> None:
    """Count classes and sizes, and give the class weights that training can use."""
    from segtool.data import open_dataset
    from segtool.data.statistics import statistics

    if plot is not None:
        check_suffix(plot, ".png", ".svg", ".pdf", option="--plot")
    dataset = open_dataset(spec, split)
    with progress_bar("counting") as progress:
        found = statistics(dataset, progress)
    _print_statistics(found)
    if plot is not None:
        _plot(found, plot)
        echo(f"written: {plot}")


def _print_statistics(found: "Statistics") -> None:
    """Classes with their share, then sizes."""
    from rich.table import Table

    from segtool.cli.tables import console
    from segtool.data.statistics import class_weights

    weights = {name: class_weights(name, found) for name in ("log", "median", "inverse")}
    table = Table()
    for title in ("class", "percent of pixels", "in images", *(f"weight, {name}" for name in weights)):
        table.add_column(title, justify="left" if title == "class" else "right")
    for i, info in enumerate(found.classes):
        cells = (f"{100 * found.frequency[i]:.3f}", str(found.images[i]), *(f"{w[i]:.3f}" for w in weights.values()))
        table.add_row(info.name, *cells)
    console().print(table)
    total = int(found.pixels.sum()) + found.void
    console().print(f"void: {100 * found.void / max(total, 1):.2f} percent of all pixels")
    sizes = ", ".join(f"{h}x{w} ({n} images)" for (w, h), n in found.sizes.most_common(8))
    more = len(found.sizes) - 8
    console().print(f"sizes: {sizes}" + (f" and {more} others" if more > 0 else ""))


def _plot(found: "Statistics", path: Path) -> None:
    from matplotlib.figure import Figure

    from segtool.files import atomic_path

    order = found.frequency.argsort()
    figure = Figure(figsize=(8, 0.26 * len(order) + 1.2), layout="constrained")
    axes = figure.subplots()
    colors = [tuple(v / 255 for v in found.classes[i].color) for i in order]
    names = [found.classes[i].name for i in order]
    axes.barh(names, 100 * found.frequency[order], color=colors, edgecolor="#888888", linewidth=0.5)
    axes.set(xlabel="percent of the labelled pixels", ylim=(-0.7, len(order) - 0.3))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


@command.command("show")
@_spec
@_split
@click.option("--images", default=12, show_default=True, type=click.IntRange(1, 400))
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The picture to write.")
def show(spec: str, split: str, images: int, out: Path) -> None:
    """Draw a contact sheet: images above their labels."""
    from segtool.data import open_dataset
    from segtool.data.contact_sheet import contact_sheet
    from segtool.drawing import save_image

    check_suffix(out, ".png", ".jpg")
    save_image(out, contact_sheet(open_dataset(spec, split), images))
    echo(f"written: {out}")


@command.command("download")
@click.argument("name", type=click.Choice(["voc"]))
@click.argument("path", type=click.Path(path_type=Path, file_okay=False))
def download(name: str, path: Path) -> None:
    """Fetch PASCAL VOC 2012 (2 GB) through torchvision."""
    from torchvision.datasets import VOCSegmentation

    from segtool.errors import SegtoolError
    from segtool.files import ensure_folder

    ensure_folder(path)
    try:
        VOCSegmentation(str(path), year="2012", image_set="trainval", download=True)
    except (OSError, RuntimeError) as error:
        raise SegtoolError(
            f"the download failed ({error})", where=name, mend="try again, or fetch it by hand"
        ) from error
    echo(f"now: segtool data check {name}:{path}")


for other in (init, split_command, convert, rank_command):
    command.add_command(other)
