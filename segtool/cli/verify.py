"""segtool verify"""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segtool.cli.options import check_suffix, echo, progress_bar

if TYPE_CHECKING:
    from segtool.export.comparison import Case


_ELSEWHERE = (
    "the CRF's definition inside the file needs integers of 64 bits; engines that have none, such as OpenVINO, "
    "give other labels and no error; give them the network alone"
)


@click.command("verify")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--images", type=click.Path(path_type=Path), help="Folder of images.  [default: built-in pictures]")
@click.option("--data", metavar="SPEC", help="Dataset instead of images; its truth also gives the difference of mIoU.")
@click.option("--split", default="val", show_default=True, help="Split of --data.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Use at most this many images.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON to write.  [default: beside MODEL]")
def command(
    run: Path, model: Path, images: Path | None, data: str | None, split: str, limit: int, out: Path | None
) -> None:
    """Prove that the exported MODEL (.onnx or .engine) gives what RUN gives in PyTorch.

    Runs the file on every backend that this machine has: with its portable function bodies, with the native library,
    and on a CUDA device; one image at a time, in odd sizes and in batches. The result goes into MODEL's card. Exit code
    1 if one is outside tolerance: 99.99 % of labels, 0.001 of the winning probability, 0.1 point of mIoU; for a file in
    half precision 99.7 %, 0.25, 0.1; with 8 bits 95 % and 1 point. Then it names the first node that differs, and the
    likely cause. A file of the network alone (--no-crf) is compared with the network.
    """
    from segtool.cli.tables import print_parity
    from segtool.export.verify import store_parity, verify
    from segtool.files import write_json

    out = out or model.with_suffix(".parity.json")
    check_suffix(out, ".json")
    cases, total = _cases(run, images, data, split, limit)
    with progress_bar("verifying") as progress:
        records = verify(run, model, _counted(cases, total, progress))
    print_parity(records)
    card = store_parity(model, records)
    write_json(out, [record.model_dump() for record in records])
    echo(f"written: {out}")
    if model.suffix == ".onnx" and card.crf is not None:
        echo(f"note: {_ELSEWHERE} (segtool export {run} --no-crf)")
    if not all(record.passed for record in records):
        echo("segtool: the exported model differs from PyTorch")
        sys.exit(1)


def _cases(run: Path, folder: Path | None, data: str | None, split: str, limit: int) -> "tuple[Iterable[Case], int]":
    from segtool.bands import from_picture
    from segtool.errors import SegtoolError
    from segtool.export.comparison import Case
    from segtool.readers import reader_of
    from segtool.train.checkpoint_file import checkpoint_path, read_card

    contract = read_card(checkpoint_path(run)).input
    if folder is not None and data is not None:
        raise SegtoolError("--images and --data are two ways to say the same", mend="give one of them")
    if folder is None:
        from segtool.data import even_choice, open_dataset

        if data is not None:
            dataset = open_dataset(data, split, reader=reader_of(contract))
            chosen = even_choice(len(dataset), limit)
            return (Case(*dataset.load(i)) for i in chosen), len(chosen)
        pictures = open_dataset("synthetic:192", "val")
        chosen = even_choice(len(pictures), limit)
        # Of the built-in pictures the truth is for other classes than the model's.
        return (Case(from_picture(pictures.load(i).image, contract)) for i in chosen), len(chosen)
    from segtool.sources import find, no_images

    found = find(folder)
    if not found.images:
        raise no_images(folder, found.others)
    paths = [folder / path for path in found.images[:limit]]
    reader = reader_of(contract)
    return (Case(reader.open(path).values) for path in paths), len(paths)


def _counted(items: Iterable[Any], total: int, progress: Callable[[int, int], None]) -> Iterator[Any]:
    for done, item in enumerate(items):
        progress(done, total)
        yield item
