"""One row for each image, and the files that hold them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.files import atomic_path
from segtool.prediction import Prediction
from segtool.train.evaluation.counts import TOLERANCES, Counts
from segtool.train.evaluation.scores import boundary_f, class_scores, mean

Row = dict[str, Any]


def image_row(name: str, names: list[str], prediction: Prediction, before: Counts, after: Counts | None) -> Row:
    """The scores of one image.

    Args:
        name: of the image.
        names: of the classes.
        prediction: what the model answered.
        before, after: counts before and after the CRF; without a CRF `before` is all there is.

    Returns:
        Numbers by column; NaN where a score does not exist for this image.
    """
    final = after or before
    scores = class_scores(final)
    height, width = prediction.labels.shape
    row: Row = {"image": name, "width": width, "height": height, "void": int(final.void) / (height * width)}
    row |= {"miou": _mean(scores.iou), "pixel_accuracy": _accuracy(final)}
    row |= {f"boundary_f_{t}px": _mean(f) for t, f in zip(TOLERANCES, boundary_f(final.boundary), strict=True)}
    row["confidence"] = float(prediction.confidence.mean())
    if after is not None:
        row["miou_before_crf"] = _mean(class_scores(before).iou)
        row["crf_gain"] = row["miou"] - row["miou_before_crf"]
    return row | {f"iou_{n}": float(v) for n, v in zip(names, scores.iou, strict=True)}


def _mean(values: NDArray[np.float64]) -> float:
    return mean(values) if np.isfinite(values).any() else float("nan")


def _accuracy(counts: Counts) -> float:
    total = int(counts.confusion.sum())
    return float(np.trace(counts.confusion) / total) if total else float("nan")


def write_table(rows: Iterable[Row], folder: Path) -> None:
    """Writes images.csv and images.parquet."""
    import pandas as pd

    table = pd.DataFrame(list(rows))
    for suffix, write in ((".csv", table.to_csv), (".parquet", table.to_parquet)):
        with atomic_path(folder / f"images{suffix}") as temporary:
            write(temporary, index=False)
