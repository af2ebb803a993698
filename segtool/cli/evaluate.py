"""segtool eval"""

import warnings
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import click

from segtool.cli.options import echo, progress_bar


@click.command("eval")
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--data", metavar="SPEC", help="Dataset as name:path, such as camvid:data/camvid or synthetic.")
@click.option("--split", default="val", show_default=True)
@click.option(
    "--processes", default=1, show_default=True, type=click.IntRange(1), help="Processes; each opens the model."
)
@click.option("--failures", type=click.FloatRange(0, 1), help="Explain the images with an mIoU below this, 0..1.")
@click.option(
    "--slide",
    type=click.IntRange(16),
    help="Show the network windows of this side, in pixels, instead of whole images.",
)
@click.option("--stride", type=int, help="Pixels from one window to the next.  [default: two thirds of --slide]")
@click.option(
    "--tta", metavar="flip,0.75,...", help="Test-time augmentation: average over mirrored and scaled images too."
)
@click.option("--any-classes", is_flag=True, help="Match classes by id even if their names have other ids.")
@click.option("--pictures", default=120, show_default=True, type=click.IntRange(0), help="Images in the report.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write tables and report.html to."
)
@click.option(
    "--compare",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="A B",
    help="Compare two folders that --out wrote, instead of scoring a model.",
)
def command(
    model: Path | None, data: str | None, compare: tuple[Path, Path] | None, out: Path | None, **options: Any
) -> None:
    """Score MODEL on a labelled split, before and after the CRF side by side.

    --out gets report.html, summary.json, plots/, and images.csv and images.parquet with one row for each image; with
    --failures also failures/ with a table and, for every failure, image, mask, prediction and errors.
    """
    if compare is not None:
        if model is not None or data is not None:
            raise click.UsageError("--compare takes two evaluation folders; give neither MODEL nor --data")
        _compare(*compare, out, options["pictures"])
    elif model is None or data is None:
        raise click.UsageError("give MODEL and --data SPEC, or --compare A B")
    else:
        _evaluate(model, data, out, **options)


def _evaluate(
    model: Path,
    data: str,
    out: Path | None,
    *,
    split: str,
    processes: int,
    failures: float | None,
    slide: int | None,
    stride: int | None,
    tta: str | None,
    any_classes: bool,
    pictures: int,
) -> None:
    from segtool.cli.tables import print_evaluation, print_failures
    from segtool.data import absolute_spec
    from segtool.errors import SegtoolError
    from segtool.evaluation.evaluate import evaluate_with
    from segtool.evaluation.examine import examine, failing
    from segtool.evaluation.failures import collect_failures
    from segtool.evaluation.output import evaluate_into
    from segtool.evaluation.workers import Workers
    from segtool.train.config.views import parse_views

    views = parse_views(slide, stride, tta)
    # Several processes must not compete for the cores with threads of their own.
    opener = partial(_open, model, data, split, views, 1 if processes > 1 else None, any_classes)
    with Workers(opener, processes) as workers, progress_bar("evaluating") as progress:
        if out is None:
            found, explained = evaluate_with(workers, progress=progress), None
            if failures is not None:
                examined = examine(workers, failing(found, failures))
                explained = collect_failures(examined, failures, workers.dataset.classes)
        else:
            about = {
                "model": str(model.resolve()),
                "data": absolute_spec(data),
                "split": split,
                **_named(slide, stride, tta),
            }
            found, explained = evaluate_into(
                out,
                workers,
                threshold=failures,
                pictures=pictures,
                about=about,
                history=model / "history.jsonl",
                progress=progress,
            )
    if not found.final.confusion.any():
        raise SegtoolError(f"nothing is labelled in split {split}", where=data, mend="segtool data check shows more")
    print_evaluation(found)
    if explained is not None:
        print_failures(explained)
    if out is not None:
        echo(f"written: {out / 'report.html'}, and beside it summary.json, images.csv, images.parquet, plots/")


def _named(slide: int | None, stride: int | None, tta: str | None) -> dict[str, Any]:
    return {key: value for key, value in (("slide", slide), ("stride", stride), ("tta", tta)) if value}


def _open(model: Path, data: str, split: str, views: Any, threads: int | None, any_classes: bool) -> Any:
    """Predictor and dataset; refused if their classes cannot be matched, warned of if some have other names."""
    from segtool.cli.models import open_model
    from segtool.data import open_dataset
    from segtool.errors import SegtoolError
    from segtool.readers import reader_of

    predictor, card = open_model(model, threads=threads, views=views)
    dataset = open_dataset(data, split, reader=reader_of(card.input))
    if len(card.classes) != len(dataset.classes):
        raise SegtoolError(f"the model has {len(card.classes)} classes, the data {len(dataset.classes)}", where=data)
    if not any_classes:
        _refuse_other_order(card.names, [c.name for c in dataset.classes], data)
    if parent_process() is None:  # said once, not by every process
        _warn_of_names(card.names, [c.name for c in dataset.classes])
    return predictor, dataset


def _refuse_other_order(model: list[str], data: list[str], where: str) -> None:
    """Refuses names that both have under different ids: the ids decide, and would take one class for another."""
    from segtool.errors import SegtoolError

    places = {name: i for i, name in enumerate(data)}
    moved = [f"{name} is {places[name]}, not {i}" for i, name in enumerate(model) if places.get(name, i) != i]
    if moved:
        raise SegtoolError(
            f"classes have other ids in the data than in the model ({', '.join(moved[:3])})",
            where=where,
            mend="give both the same order, or --any-classes if the names are wrong",
        )


def _warn_of_names(model: list[str], data: list[str]) -> None:
    """Classes are matched by their ids; other names may be other classes, or the same ones in another order."""
    from segtool.errors import SegtoolWarning

    other = [f"{a} / {b}" for a, b in zip(model, data, strict=True) if a != b]
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        warnings.warn(
            f"classes have other names in model and data: {', '.join(other[:3])}{more}", SegtoolWarning, stacklevel=2
        )


def _compare(first: Path, second: Path, out: Path | None, pictures: int) -> None:
    from segtool.cli.tables import print_comparison
    from segtool.evaluation.compare import compare
    from segtool.evaluation.compare_folder import write_comparison

    found = compare(first, second)
    print_comparison(found)
    if out is not None:
        openers = partial(_reopen, found.a.summary, first), partial(_reopen, found.b.summary, second)
        write_comparison(out, found, openers, pictures)
        echo(f"written: {out / 'report.html'}, and beside it comparison.json, images.csv, classes.csv, plots/")


def _reopen(summary: dict[str, Any], folder: Path) -> Any:
    """The model and data that an evaluation was made with."""
    from segtool.errors import SegtoolError
    from segtool.train.config.views import parse_views

    if "model" not in summary:
        raise SegtoolError("the evaluation does not say of which model it is", where=folder, mend="--pictures 0")
    model = Path(summary["model"])
    if not model.exists():
        raise SegtoolError("the evaluated model is gone", where=model, mend="--pictures 0 compares without pictures")
    views = parse_views(summary.get("slide"), summary.get("stride"), summary.get("tta"))
    return _open(model, summary["data"], summary["split"], views, None, any_classes=True)  # as it was evaluated
