"""segtool data rank"""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segtool.cli.options import backend_option, check_suffix, echo, model_argument, progress_bar

if TYPE_CHECKING:
    from segtool.card import ModelCard
    from segtool.data.ranking import Look, Ranked
    from segtool.runtime import BackendName

_SHOWN = 10


@click.command("rank")
@model_argument
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The table to write, .csv.")
@click.option(
    "--compared",
    default=200,
    show_default=True,
    type=click.IntRange(1),
    help="Images that are chosen to differ from each other; the others follow by uncertainty alone.",
)
@backend_option
def command(model: Path, folder: Path, out: Path, compared: int, backend: "BackendName") -> None:
    """Order unlabelled images: those first that are worth labelling for the next round.

    The model is least sure of them, and they differ from those before. The table has a row for each image of FOLDER and
    all that is below it: rank, image, uncertainty (1 less the mean confidence), difference from the most similar image
    before.
    """
    from segtool.cli.models import open_model
    from segtool.data.ranking import rank
    from segtool.files import write_text
    from segtool.sources import find, no_images

    check_suffix(out, ".csv")
    found = find(folder)
    if not found.images:
        raise no_images(folder, found.others)
    predictor, card = open_model(model, backend=backend)
    looks, failed = _looks(predictor, folder, found.images, card)
    names, order = [*looks], rank([*looks.values()], compared)
    write_text(out, _table(names, order))
    for place, ranked in enumerate(order[:_SHOWN], 1):
        echo(f"{place:3d}  uncertainty {ranked.uncertainty:.3f}  {names[ranked.image]}")
    echo(f"{len(order)} of {len(found.images)} images ranked: {out}")
    if failed:
        from segtool.cli.boundary import tell

        for error in failed[:-1]:
            tell(error)
        raise failed[-1]


def _looks(
    predictor: object, folder: Path, images: list[str], card: "ModelCard"
) -> "tuple[dict[str, Look], list[Exception]]":
    """What each image shows, and the errors of those that cannot be read."""
    from segtool.cli.predict_here import in_batches
    from segtool.data.ranking import look_at
    from segtool.prediction import Prediction
    from segtool.readers import Image, reader_of
    from segtool.runtime.pipeline import run_overlapped

    looks: dict[str, Look] = {}
    failed: list[Exception] = []
    reader = reader_of(card.input)

    def keep(name: str, image: Image, prediction: Prediction) -> None:
        looks[name] = look_at(reader.picture(image), prediction, len(card.classes))

    def read(name: str) -> Image:
        return reader.open(folder / name).values

    with progress_bar("looking") as progress:
        overlapped = run_overlapped(images, read, in_batches(predictor), keep)
        for done, (name, error) in enumerate(overlapped, 1):
            if error is not None:
                failed.append(error.about(folder / name))
            progress(done, len(images))
    return {name: looks[name] for name in images if name in looks}, failed


def _table(names: list[str], order: "list[Ranked]") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "image", "uncertainty", "difference"])
    for place, ranked in enumerate(order, 1):
        compared = ranked.difference == ranked.difference  # NaN is not
        difference = f"{ranked.difference:.5f}" if compared else ""
        writer.writerow([place, names[ranked.image], f"{ranked.uncertainty:.5f}", difference])
    return text.getvalue()
