"""segtool data init, split and convert: what writes."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segtool.cli.options import echo, progress_bar

if TYPE_CHECKING:
    from segtool.data import SegmentationDataset


def opened_splits(
    spec: str, given: tuple[str, ...], usual: tuple[str, ...], complete: bool
) -> "dict[str, SegmentationDataset]":
    """The splits that the user names; otherwise those of the usual ones that there are.

    Raises:
        SegtoolError: there is none, or one of those that the user names is not there.
    """
    from segtool.data import open_dataset
    from segtool.data.splits import NoSuchSplit

    found, missing = {}, []
    for split in given or usual:
        try:
            found[split] = open_dataset(spec, split, complete=complete)
        except NoSuchSplit as error:
            if given:
                raise
            missing.append(error)
    if not found:
        raise missing[0]
    for absent in missing:
        echo(f"there is no split {absent.split}")
    return found


def counted(number: int, thing: str) -> str:
    """A number of things, in words."""
    return f"{number} {thing}" + "s" * (number != 1)


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path, file_okay=False))
@click.option("--images", metavar="PATTERN", help="Where the images lie, such as images/{split}/{stem}.")
@click.option("--masks", metavar="PATTERN", help="Where the masks lie.")
def init(path: Path, images: str | None, masks: str | None) -> None:
    """Guess what a folder holds, and write its classes.yaml.

    What annotation tools wrote, and public datasets, need none: the spec that reads them is printed.
    """
    from segtool.data.description import FILE
    from segtool.data.guess import guess
    from segtool.errors import SegtoolError
    from segtool.files import write_text

    if (path / FILE).exists():
        raise SegtoolError("there is one already", where=path / FILE, mend=f"segtool data check folder:{path}")
    found = guess(path, images, masks)
    echo(found.words)
    for remark in found.remarks:
        echo(remark)
    if found.text:
        write_text(path / FILE, found.text)
        echo(f"written: {path / FILE}")
    _say_next(found.spec)


def _say_next(spec: str) -> None:
    """The next command, which is `split` where nothing says what is trained on."""
    from segtool.data import open_dataset
    from segtool.data.splits import NoSuchSplit
    from segtool.errors import SegtoolError

    command = "check"
    try:
        open_dataset(spec, "train", complete=False)
    except NoSuchSplit:
        command = "split"
    except SegtoolError:
        pass  # check says it
    echo(f"now: segtool data {command} {shlex.quote(spec)}")


@click.command("split")
@click.argument("spec")
@click.option("--val", default=0.2, show_default=True, type=click.FloatRange(0, 1, min_open=True, max_open=True))
@click.option("--test", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="A share for testing, too.")
@click.option(
    "--by",
    default="prefix",
    show_default=True,
    type=click.Choice(["prefix", "folder", "image"]),
    help="What stays together: names that differ in their last number alone, folders, or nothing.",
)
@click.option("--seed", default=0, show_default=True)
def split(spec: str, val: float, test: float | None, by: str, seed: int) -> None:
    """Deal the images of a dataset without splits to train, val and, if wanted, test.

    Writes splits/train.txt, splits/val.txt and the lines in classes.yaml that name them.
    """
    from segtool.data import open_dataset
    from segtool.data.redraw import deal, write_lists

    dataset = open_dataset(spec, "all")
    dealt = deal(dataset, {"val": val} | ({"test": test} if test else {}), by, seed)
    path = write_lists(dataset, dealt)
    for name, places in dealt.items():
        echo(f"{name}: {counted(len(places), 'image')}")
    echo(f"written: {path}")
    echo(f"now: segtool data check {shlex.quote(spec)}")


@click.command("convert")
@click.argument("spec")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--split", "splits", multiple=True, help="[default: train, val and test]")
def convert(spec: str, out: Path, splits: tuple[str, ...]) -> None:
    """Write any dataset as a folder: OUT/SPLIT/images, OUT/SPLIT/masks and OUT/classes.yaml, whole or not at all."""
    from segtool.data.convert import convert as write

    opened = opened_splits(spec, splits, ("train", "val", "test"), complete=True)
    given = opened if "train" not in opened else ()
    with progress_bar("converting") as progress:
        write(opened, out, progress)
    echo(f"{sum(map(len, opened.values()))} images written to {out}")
    echo(f"now: segtool data check {shlex.quote(f'folder:{out}')}" + "".join(f" --split {s}" for s in given))
