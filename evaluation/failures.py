"""The images under a threshold: ranked, explained, and copied with masks, predictions and error overlays; and the
images that the CRF made worse, with why."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.card import ClassInfo
from segtool.data import Sample
from segtool.drawing import colorize, overlay, save_image
from segtool.evaluation.blame import CAUSES
from segtool.evaluation.diagnosis import KINDS
from segtool.evaluation.examine import Examined
from segtool.files import atomic_path
from segtool.prediction import Prediction

_WRONG, _VOID = (220, 40, 40), (0, 0, 0)
Row = dict[str, Any]


@dataclass
class Failures:
    """What a closer look found.

    Attributes:
        threshold: of mIoU, 0..1.
        rows: images below it: image, miou, kind, the share of wrong pixels of each kind, the worst pair of classes.
        confusion: of these images, [C,C]; rows are the truth.
        worsened: images with a lower mIoU after the CRF: image, crf_gain, pixels harmed and mended, and which kernel
            did it.
    """

    threshold: float
    confusion: NDArray[np.int64]
    rows: list[Row] = field(default_factory=list)
    worsened: list[Row] = field(default_factory=list)


def collect_failures(
    examined: Iterable[Examined],
    threshold: float,
    classes: Sequence[ClassInfo],
    folder: Path | None = None,
    also: Callable[[Examined], object] = lambda image: None,
) -> Failures:
    """Explains every examined image with an mIoU below the threshold.

    Args:
        examined: the worst first (see `failing`).
        threshold: 0..1.
        folder: gets failures.csv and pictures of every failure; nothing is written when not given.
        also: called with every image that was examined.
    """
    found = Failures(threshold, np.zeros((len(classes), len(classes)), np.int64))
    for image in examined:
        also(image)
        if image.row["miou"] < threshold:
            found.confusion += image.counts.confusion
            found.rows.append(failure_row(image, classes))
            if folder is not None:
                _write_pictures(folder, image, classes)
        if image.blame is not None:
            found.worsened.append(blame_row(image))
    found.rows.sort(key=lambda row: row["miou"])
    found.worsened.sort(key=lambda row: row["crf_gain"])
    if folder is not None:
        write_rows(found.rows, folder / "failures.csv")
    return found


def failure_row(image: Examined, classes: Sequence[ClassInfo]) -> Row:
    """What failures.csv says of an image."""
    found = image.diagnosis
    true, predicted, share = found.pair or (0, 0, 0.0)
    return {
        "image": image.row["image"],
        "miou": image.row["miou"],
        "kind": found.kind,
        **{kind: found.shares[kind] for kind in KINDS},
        "true_class": classes[true].name,
        "predicted_class": classes[predicted].name,
        "share_of_errors": share,
        "crf_gain": image.row.get("crf_gain", float("nan")),
    }


def blame_row(image: Examined) -> Row:
    """What crf_made_worse.csv says of an image; see `Blame`."""
    assert image.blame is not None
    harmed, mended, cause, shares = image.blame
    numbers = {"crf_gain": image.row["crf_gain"], "harmed_pixels": harmed, "mended_pixels": mended}
    return {"image": image.row["image"], **numbers, "cause": cause, **{c: shares[c] for c in CAUSES}}


def _write_pictures(folder: Path, image: Examined, classes: Sequence[ClassInfo]) -> None:
    colors, sample = [c.color for c in classes], image.sample
    pictures = {
        "images": sample.image,
        "masks": colorize(sample.labels, colors),
        "predictions": overlay(sample.image, image.prediction.labels, colors, 0.6),
        "errors": error_overlay(sample, image.prediction, len(classes)),
    }
    for kind, picture in pictures.items():
        save_image(folder / kind / f"{image.row['image']}.png", picture)


def error_overlay(sample: Sample, prediction: Prediction, classes: int) -> NDArray[np.uint8]:
    """The image in grey, wrong pixels red, void black: uint8 [H,W,3]."""
    grey = np.repeat(sample.image.mean(2, keepdims=True), 3, 2)
    valid = sample.labels < classes
    wrong = valid & (sample.labels != prediction.labels)
    grey[wrong] = 0.35 * grey[wrong] + 0.65 * np.array(_WRONG)
    grey[~valid] = _VOID
    return grey.astype(np.uint8)


def write_rows(rows: list[Row], path: Path) -> None:
    """Writes rows as CSV."""
    import pandas as pd

    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
