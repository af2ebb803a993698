"""segtool eval"""

from pathlib import Path

import click

from segtool.cli.options import data_option, echo, model_argument, progress_bar


@click.command("eval")
@model_argument
@data_option
@click.option("--split", default="val", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the scores as JSON.")
def command(model: Path, data: str, split: str, out: Path | None) -> None:
    """Score MODEL on a labelled split, before and after the CRF side by side."""
    from segtool.cli.models import open_model
    from segtool.cli.tables import print_scores
    from segtool.errors import SegtoolError
    from segtool.files import write_json
    from segtool.train.data import open_dataset
    from segtool.train.evaluate import evaluate

    dataset = open_dataset(data, split)
    predictor, card = open_model(model)
    if len(card.classes) != len(dataset.classes):
        raise SegtoolError(f"the model has {len(card.classes)} classes, the data {len(dataset.classes)}", where=data)
    with progress_bar("evaluating") as progress:
        before, after = evaluate(predictor, dataset, progress)
    scorers = [s for s in (before, after) if s is not None]
    scores = [s.compute() for s in scorers]
    iou = [s.class_iou().tolist() for s in scorers]
    print_scores(scores[0], scores[1] if after else None, card.names, iou)
    if out is not None:
        names = ("before_crf", "after_crf") if after else ("before_crf",)
        rows = {
            name: {**score.model_dump(), "class_iou": dict(zip(card.names, _jsonable(row), strict=True))}
            for name, score, row in zip(names, scores, iou, strict=True)
        }
        write_json(out, {"data": data, "split": split, "images": len(dataset), **rows})
        echo(f"written: {out}")


def _jsonable(values: list[float]) -> list[float | None]:
    return [None if v != v else v for v in values]
