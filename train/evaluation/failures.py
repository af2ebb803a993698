"""The images under a threshold: ranked, explained, and copied with masks, predictions and error overlays."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.card import ClassInfo
from segtool.files import atomic_path
from segtool.images import colorize, overlay, save_image
from segtool.prediction import Prediction
from segtool.train.data import Sample, SegmentationDataset
from segtool.train.evaluation.counts import count_image
from segtool.train.evaluation.diagnosis import KINDS, diagnose
from segtool.train.evaluation.run import Evaluation, Predictor

_WRONG, _VOID = (220, 40, 40), (0, 0, 0)
Row = dict[str, Any]


@dataclass
class Failures:
    """The images under a threshold.

    Attributes:
        threshold: of mIoU, 0..1.
        rows: the worst first: image, miou, kind, the share of wrong pixels of each kind, the worst pair of classes.
        confusion: of these images, [C,C]; rows are the truth.
    """

    threshold: float
    rows: list[Row]
    confusion: NDArray[np.int64]


def find_failures(
    found: Evaluation, predictor: Predictor, dataset: SegmentationDataset, threshold: float, folder: Path | None = None
) -> Failures:
    """Explains every image with an mIoU below the threshold, the worst first. They are predicted once more.

    Args:
        found: the evaluation of `dataset`.
        threshold: 0..1.
        folder: gets failures.csv and a picture of each kind for every failure; nothing is written when not given.
    """
    order = sorted(range(len(found.rows)), key=lambda i: found.rows[i]["miou"])
    classes = len(dataset.classes)
    failures = Failures(threshold, [], np.zeros((classes, classes), np.int64))
    for index in (i for i in order if found.rows[i]["miou"] < threshold):
        sample = dataset.load(index)
        prediction = predictor(sample.image)
        failures.confusion += count_image(prediction.labels, sample.labels, classes).confusion
        failures.rows.append(_explained(found.rows[index], sample, prediction, dataset.classes))
        if folder is not None:
            _write_pictures(folder, dataset.identifier(index), sample, prediction, dataset.classes)
    if folder is not None:
        _write_rows(failures.rows, folder / "failures.csv")
    return failures


def _explained(row: Row, sample: Sample, prediction: Prediction, classes: Sequence[ClassInfo]) -> Row:
    found = diagnose(sample, prediction, len(classes))
    true, predicted, share = found.pair or (0, 0, 0.0)
    return {
        "image": row["image"],
        "miou": row["miou"],
        "kind": found.kind,
        **{kind: found.shares[kind] for kind in KINDS},
        "true_class": classes[true].name,
        "predicted_class": classes[predicted].name,
        "share_of_errors": share,
        "crf_gain": row.get("crf_gain", float("nan")),
    }


def _write_pictures(
    folder: Path, name: str, sample: Sample, prediction: Prediction, classes: Sequence[ClassInfo]
) -> None:
    colors = [c.color for c in classes]
    pictures = {
        "images": sample.image,
        "masks": colorize(sample.labels, colors),
        "predictions": overlay(sample.image, prediction.labels, colors, 0.6),
        "errors": error_overlay(sample, prediction, len(classes)),
    }
    for kind, picture in pictures.items():
        save_image(folder / kind / f"{name}.png", picture)


def error_overlay(sample: Sample, prediction: Prediction, classes: int) -> NDArray[np.uint8]:
    """The image in grey, wrong pixels red, void black: uint8 [H,W,3]."""
    grey = np.repeat(sample.image.mean(2, keepdims=True), 3, 2)
    valid = sample.labels < classes
    wrong = valid & (sample.labels != prediction.labels)
    grey[wrong] = 0.35 * grey[wrong] + 0.65 * np.array(_WRONG)
    grey[~valid] = _VOID
    return grey.astype(np.uint8)


def _write_rows(rows: list[Row], path: Path) -> None:
    import pandas as pd

    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
