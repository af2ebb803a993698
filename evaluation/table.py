"""One row for each image, and the files that hold them."""

import csv
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.evaluation.counts import TOLERANCES, Counts
from segtool.evaluation.scores import class_iou, class_scores, image_boundary_f, mean
from segtool.files import atomic_path, ensure_folder
from segtool.prediction import Prediction

Row = dict[str, Any]
_ROW_GROUP = 256  # rows that are written together
_COLUMN_TYPES = {"image": "string", "width": "int64", "height": "int64"}


def image_row(
    name: str,
    names: list[str],
    prediction: Prediction,
    before: Counts,
    context: Counts | None = None,
    after: Counts | None = None,
) -> Row:
    """The scores of one image.

    Args:
        name: of the image.
        names: of the classes.
        prediction: what the model answered.
        before, context, after: counts of the network, between its CRFs, and of the whole model; without a CRF `before`
            is all there is.

    Returns:
        Numbers by column; NaN where a score does not exist for this image.
    """
    final = after or before
    scores = class_scores(final)
    height, width = prediction.labels.shape
    row: Row = {"image": name, "width": width, "height": height, "void": int(final.void) / (height * width)}
    row |= {"miou": _mean(scores.iou), "pixel_accuracy": _accuracy(final)}
    row |= {f"boundary_f_{t}px": f for t, f in zip(TOLERANCES, image_boundary_f(final), strict=True)}
    row["confidence"] = float(prediction.confidence.mean())
    if after is not None:
        row["miou_before_crf"] = _mean(class_iou(before))
        row["crf_gain"] = row["miou"] - row["miou_before_crf"]
    if context is not None:
        row["miou_after_context"] = _mean(class_iou(context))
    return row | {f"iou_{n}": float(v) for n, v in zip(names, scores.iou, strict=True)}


def _mean(values: NDArray[np.float64]) -> float:
    return mean(values) if np.isfinite(values).any() else float("nan")


def _accuracy(counts: Counts) -> float:
    total = int(counts.confusion.sum())
    return float(np.trace(counts.confusion) / total) if total else float("nan")


class TableFiles:
    """Writes rows to images.csv and images.parquet as they come; a number that does not exist is left empty.

    A context: the files appear, complete, when it is left without an error.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._files = folder, ExitStack()
        self._waiting: list[Row] = []
        self._csv: csv.DictWriter | None = None
        self._parquet: Any = None

    def __enter__(self) -> "TableFiles":
        folder = ensure_folder(self._folder)
        csv_path, self._parquet_path = (
            self._files.enter_context(atomic_path(folder / f"images.{suffix}")) for suffix in ("csv", "parquet")
        )
        self._csv_file = self._files.enter_context(csv_path.open("w", encoding="utf-8", newline=""))
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self._files.__exit__(*error)
            return
        with self._files:  # which also sees what goes wrong now
            self._write()

    def __call__(self, row: Row) -> None:
        """Takes the row that comes next."""
        self._waiting.append({k: None if isinstance(v, float) and v != v else v for k, v in row.items()})
        if len(self._waiting) == _ROW_GROUP:
            self._write()

    def _write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._waiting:
            return
        if self._csv is None:
            self._csv = csv.DictWriter(self._csv_file, self._waiting[0])
            self._csv.writeheader()
            self._schema = pa.schema([(name, _COLUMN_TYPES.get(name, "double")) for name in self._waiting[0]])
            self._parquet = self._files.enter_context(pq.ParquetWriter(self._parquet_path, self._schema))
        self._csv.writerows(self._waiting)
        self._parquet.write_table(pa.Table.from_pylist(self._waiting, self._schema))
        self._waiting.clear()
