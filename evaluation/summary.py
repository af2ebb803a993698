"""The numbers of an evaluation as one JSON file, and as a data frame."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segtool.evaluation.counts import TOLERANCES, Counts
from segtool.evaluation.evaluate import Evaluation
from segtool.evaluation.scores import MeanOverImages, class_scores, set_scores
from segtool.files import write_json

if TYPE_CHECKING:
    import pandas as pd


def write_summary(found: Evaluation, path: Path, **about: Any) -> None:
    """Writes scores of the set and of each class, intervals, and the confusion matrix.

    Args:
        about: what else the file is to say, such as the model.
    """
    sides = {name: _side(*column, found.names) for name, column in found.columns.items()}
    names = ("before_crf", "after_crf", "difference") if found.after else ("value",)
    intervals = dict(zip(names, ([*i] for i in found.bootstrap.miou()), strict=False))
    record = {
        **about,
        "images": found.images,
        "tolerances_px": TOLERANCES,
        "miou_95_percent_interval": intervals,
        **sides,
    }
    write_json(path, record)


def _side(counts: Counts, boundary: MeanOverImages, names: list[str]) -> dict[str, Any]:
    each = {key: _jsonable(values) for key, values in asdict(class_scores(counts)).items()}
    return {
        **asdict(set_scores(counts)),
        "boundary_f_mean_over_images": boundary.values,
        "classes": names,
        "by_class": each,
        "confusion": counts.confusion.tolist(),
    }


def _jsonable(values: Any) -> Any:
    """Nested lists, with null for NaN."""
    objects = np.asarray(values).astype(object)
    objects[np.isnan(values)] = None
    return objects.tolist()


def class_table(found: Evaluation) -> "pd.DataFrame":
    """One row for each class: IoU, precision, recall and F1; before the CRF too where there is one."""
    import pandas as pd

    scores = class_scores(found.final)
    columns = {"iou": scores.iou, "precision": scores.precision, "recall": scores.recall, "f1": scores.f1}
    if found.after is not None:
        columns["iou_before_crf"] = class_scores(found.before).iou
    if found.context is not None:
        columns["iou_after_context"] = class_scores(found.context).iou
    return pd.DataFrame(columns, index=pd.Index(found.names, name="class"))
