"""segtool eval"""

from functools import partial
from pathlib import Path
from typing import Any

import click

from segtool.cli.options import data_option, echo, model_argument, progress_bar


@click.command("eval")
@model_argument
@data_option
@click.option("--split", default="val", show_default=True)
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1), help="Each opens the model.")
@click.option("--failures", type=click.FloatRange(0, 1), help="Explain the images with an mIoU below this, 0..1.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for scores and tables.")
def command(model: Path, data: str, split: str, processes: int, failures: float | None, out: Path | None) -> None:
    """Score MODEL on a labelled split, before and after the CRF side by side.

    --out gets summary.json, plots/, and images.csv and images.parquet with one row for each image; with --failures also
    failures/ with a table and, for every failure, image, mask, prediction and errors.
    """
    from segtool.cli.tables import print_evaluation, print_failures
    from segtool.train.evaluation.failures import find_failures
    from segtool.train.evaluation.images import write_table
    from segtool.train.evaluation.plots import evaluation_plots, save_plots
    from segtool.train.evaluation.run import evaluate, evaluate_in_processes
    from segtool.train.evaluation.summary import write_summary

    opener = partial(_open, model, data, split)
    predictor, dataset = opener()
    with progress_bar("evaluating") as progress:
        if processes == 1:
            found = evaluate(predictor, dataset, progress)
        else:
            found = evaluate_in_processes(partial(_open, model, data, split, threads=1), processes, progress)
    print_evaluation(found)
    explained = None
    if failures is not None:
        folder = None if out is None else out / "failures"
        explained = find_failures(found, predictor, dataset, failures, folder)
        print_failures(explained)
    if out is not None:
        write_summary(found, out / "summary.json", model=str(model), data=data, split=split)
        write_table(found.rows, out)
        save_plots(evaluation_plots(found, explained), out / "plots")
        echo(f"written: {out}/summary.json, images.csv, images.parquet, plots/")


def _open(model: Path, data: str, split: str, threads: int | None = None) -> Any:
    """Predictor and dataset; refused if they do not have the same number of classes."""
    from segtool.cli.models import open_model
    from segtool.errors import SegtoolError
    from segtool.train.data import open_dataset

    dataset = open_dataset(data, split)
    predictor, card = open_model(model, threads=threads)
    if len(card.classes) != len(dataset.classes):
        raise SegtoolError(f"the model has {len(card.classes)} classes, the data {len(dataset.classes)}", where=data)
    return predictor, dataset
