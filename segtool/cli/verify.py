"""segtool verify"""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segtool.cli.options import echo, progress_bar

if TYPE_CHECKING:
    from segtool.images import RGB


@click.command("verify")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--images", type=click.Path(path_type=Path), help="Folder of images; built-in pictures when not given.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="At most so many images.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON to write; beside MODEL when not given.")
def command(run: Path, model: Path, images: Path | None, limit: int, out: Path | None) -> None:
    """Prove that the exported MODEL gives what RUN gives in PyTorch.

    Runs the file with its portable function bodies and with the native library. Exit code 1 if either is
    outside tolerance: 99.99 % of labels, 0.001 of the winning probability; for a file in half precision 99.7 %, 0.25.
    """
    from segtool.cli.tables import print_parity
    from segtool.export.parity import verify
    from segtool.files import write_json

    pictures, total = _pictures(images, limit)
    with progress_bar("verifying") as progress:
        records = verify(run, model, _counted(pictures, total, progress))
    print_parity(records)
    out = out or model.with_suffix(".parity.json")
    write_json(out, [record.model_dump() for record in records])
    echo(f"written: {out}")
    if not all(record.passed for record in records):
        echo("segtool: the exported model differs from PyTorch")
        sys.exit(1)


def _pictures(folder: Path | None, limit: int) -> "tuple[Iterable[RGB], int]":
    if folder is None:
        from segtool.train.data import open_dataset

        dataset = open_dataset("synthetic:192", "val")
        count = min(limit, len(dataset))
        return (dataset.load(i).image for i in range(count)), count
    from segtool.images import list_images, read_image

    paths = list_images(folder)[:limit]
    return (read_image(path) for path in paths), len(paths)


def _counted(items: Iterable[Any], total: int, progress: Callable[[int, int], None]) -> Iterator[Any]:
    for done, item in enumerate(items):
        progress(done, total)
        yield item
