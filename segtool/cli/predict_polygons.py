"""What segtool predict writes besides masks and overlays: polygons, and the description of a dataset."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from segtool.cli.options import echo, progress_bar

if TYPE_CHECKING:
    from segtool.card import ModelCard
    from segtool.data.polygons import Drawing
    from segtool.runtime.local import Progress, Task

BACKGROUND = "background"  # of which no polygons are made


class Polygons(NamedTuple):
    """How polygons are written."""

    form: str
    simplify: float
    smallest: int


_OPTIONS = (
    click.option(
        "--format",
        "form",
        type=click.Choice(["coco", "yolo", "labelme", "cvat", "geojson", "gpkg"]),
        help="Also write polygons, for annotation tools; with --map geojson or gpkg, in the map's coordinates.",
    ),
    click.option(
        "--simplify",
        default=1.0,
        show_default=True,
        type=click.FloatRange(0),
        help="How far outlines may be moved to need fewer points, in pixels.",
    ),
    click.option(
        "--smallest", default=10, show_default=True, type=click.IntRange(1), help="No polygons of fewer pixels."
    ),
)


def polygon_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Whether and how polygons are written."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_installed() -> None:
    """Before hours of work: whether polygons can be made.

    Raises:
        SegtoolError: a library is missing.
    """
    from segtool.data.polygons.pieces import features_api, shapely_api

    features_api()
    shapely_api()


def check_names(polygons: Polygons, out: Path, tasks: Sequence["Task"], entries: Sequence[Path], resume: bool) -> None:
    """Before hours of work: whether the files can be written without harm.

    Raises:
        SegtoolError: a tool could not tell two images apart; or there are polygons already, which somebody may have
            corrected since.
    """
    from segtool.data.polygons import written_files
    from segtool.errors import SegtoolError

    seen: dict[str, Path] = {}
    for task in tasks:
        name = _relative(task.source, entries)
        if name in seen:
            where = f"{seen[name]}, {task.source}"
            raise SegtoolError(f"two images are called {name}", where=where, mend="segment one folder at a time")
        seen[name] = task.source
        if not name.isprintable() or (polygons.form == "yolo" and task.target.name != task.source.stem):
            mend = "rename it: the tool goes by the name"
            raise SegtoolError(f"--format {polygons.form} cannot name the image", where=task.source, mend=mend)
    of_all, each = written_files(polygons.form, out, [task.target for task in tasks])
    corrected = () if resume and each else of_all  # data.yaml of yolo says the same again
    there = next((path for path in (*corrected, *(() if resume else each)) if path.exists()), None)
    if there is not None:
        mend = "polygons are not overwritten, as they may be corrected: move it away, or choose another --out"
        raise SegtoolError("there are polygons already", where=there, mend=mend)


def write(polygons: Polygons, out: Path, tasks: Sequence["Task"], entries: Sequence[Path], card: "ModelCard") -> None:
    """The polygons of all masks that have none yet, of every class but one that is called background."""
    from segtool.data.polygons import write_polygons, written_files

    _, each = written_files(polygons.form, out, [task.target for task in tasks])
    if each:  # what is there stays as it is
        tasks = [task for task, path in zip(tasks, each, strict=True) if not path.exists()]
    with progress_bar("writing polygons") as progress:
        drawings = _drawings(polygons, tasks, entries, card, progress)
        written = write_polygons(polygons.form, out, drawings, card.classes)  # type: ignore[arg-type]  # click knows them
    for path in written:
        echo(f"written: {path}")


def _drawings(
    polygons: Polygons, tasks: Sequence["Task"], entries: Sequence[Path], card: "ModelCard", progress: "Progress"
) -> Iterator["Drawing"]:
    from segtool.data.label_values import LabelValues
    from segtool.data.polygons import Drawing, pieces

    wanted = [c.id for c in card.classes if c.name.lower() != BACKGROUND]
    for number, task in enumerate(tasks):
        labels = LabelValues().read(task.mask)
        found = pieces(labels, wanted, polygons.simplify, polygons.smallest)
        yield Drawing(task.source, _relative(task.source, entries), task.target, labels.shape, found)
        progress(number + 1, len(tasks))


def _relative(source: Path, entries: Sequence[Path]) -> str:
    """The path below the folder that was given."""
    folder = next((entry for entry in entries if entry.is_dir() and source.is_relative_to(entry)), source.parent)
    return source.relative_to(folder).as_posix()
