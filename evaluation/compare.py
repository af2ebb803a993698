"""Two evaluations of the same split against each other: what got better and worse, and whether it is chance."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from segtool.errors import SegtoolError
from segtool.evaluation.bootstrap import Interval, interval
from segtool.evaluation.output import REPLICATES_FILE

_SAME = 1e-9  # differences of mIoU below this are none


@dataclass(frozen=True)
class Saved:
    """An evaluation folder, read.

    Attributes:
        summary: summary.json.
        final: the scores of the whole model in it.
        images: images.parquet, by image.
        replicates: mIoU of each bootstrap replicate, [R].
    """

    folder: Path
    summary: dict[str, Any]
    final: dict[str, Any]
    images: pd.DataFrame
    replicates: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """What changed from A to B.

    Attributes:
        miou: of the split, A and B.
        interval: 95 % of the difference by paired bootstrap; None if the two did not score the same images.
        p_value: Wilcoxon's signed-rank test of the images' mIoU, two-sided; 1 if no image changed.
        images: those that both scored: image, miou_a, miou_b, difference; the greatest loss first.
        classes: class, iou_a, iou_b, difference; the greatest loss first.
        only: how many images only A and only B scored.
    """

    a: Saved
    b: Saved
    miou: tuple[float, float]
    interval: Interval | None
    p_value: float
    images: pd.DataFrame
    classes: pd.DataFrame
    only: tuple[int, int]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Images that got better, worse, and neither."""
        difference = self.images["difference"]
        better, worse = int((difference > _SAME).sum()), int((difference < -_SAME).sum())
        return better, worse, len(difference) - better - worse


def read_evaluation(folder: Path) -> Saved:
    """Reads what `segtool eval --out` wrote.

    Raises:
        SegtoolError: something is missing or not what it should be.
    """
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        final = summary.get("after_crf") or summary["value"]
        images = pd.read_parquet(folder / "images.parquet").set_index("image")
        replicates = pd.read_csv(folder / REPLICATES_FILE)["after_crf"].to_numpy()
    except (OSError, ValueError, KeyError) as error:
        raise SegtoolError(
            f"not an evaluation folder ({type(error).__name__}: {error})",
            where=folder,
            mend="segtool eval MODEL --data SPEC --out FOLDER writes one",
        ) from error
    return Saved(folder, summary, final, images, replicates)


def compare(first: Path, second: Path) -> Comparison:
    """Compares two evaluation folders.

    Raises:
        SegtoolError: a folder is not one, they have other classes, or no image in common.
    """
    a, b = read_evaluation(first), read_evaluation(second)
    if a.final["classes"] != b.final["classes"]:
        raise SegtoolError("the two evaluations have other classes", where=second, mend="evaluate on the same data")
    images = a.images[["miou"]].add_suffix("_a").join(b.images[["miou"]].add_suffix("_b"), how="inner")
    if images.empty:
        raise SegtoolError("the two evaluations share no image", where=second, mend="evaluate on the same split")
    images["difference"] = images["miou_b"] - images["miou_a"]
    same_images = a.images.index.equals(b.images.index)
    return Comparison(
        a=a,
        b=b,
        miou=(a.final["miou"], b.final["miou"]),
        interval=interval(b.replicates - a.replicates) if same_images else None,
        p_value=_signed_rank(images["difference"].dropna().to_numpy()),
        images=images.sort_values("difference", kind="stable").reset_index(),
        classes=_class_changes(a.final, b.final),
        only=(len(a.images) - len(images), len(b.images) - len(images)),
    )


def _signed_rank(differences: np.ndarray) -> float:
    changed = np.abs(differences) > _SAME
    return float(stats.wilcoxon(differences[changed]).pvalue) if changed.any() else 1.0


def _class_changes(a: dict[str, Any], b: dict[str, Any]) -> pd.DataFrame:
    columns = {f"iou_{k}": np.array(side["by_class"]["iou"], float) for k, side in (("a", a), ("b", b))}
    table = pd.DataFrame({"class": a["classes"], **columns})
    table["difference"] = table["iou_b"] - table["iou_a"]
    return table.sort_values("difference", kind="stable", ignore_index=True)
