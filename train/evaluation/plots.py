"""Plots of an evaluation, each a matplotlib figure; saved as PNG and SVG."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from segtool.files import atomic_path
from segtool.train.evaluation.counts import CONFIDENCE_BINS, CONFIDENCE_UNIT, Counts
from segtool.train.evaluation.failures import Failures
from segtool.train.evaluation.run import Evaluation
from segtool.train.evaluation.scores import calibration_error, class_scores

BEFORE, AFTER, BAD = "#9aa5b1", "#2f6fb0", "#c0392b"
_NUMBERS_UP_TO = 25  # classes for which a heatmap's cells can hold numbers


def confusion_heatmap(confusion: NDArray[np.int64], names: list[str], title: str) -> Figure:
    """Percent of each true class' pixels that were given each class; readable at 150 classes."""
    classes = len(names)
    rows = 100 * confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    side = float(np.clip(0.16 * classes + 2.5, 5.5, 26))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(rows, cmap="Blues", vmin=0, vmax=100)
    size = 9 if classes <= _NUMBERS_UP_TO else 6
    axes.set_xticks(range(classes), names, rotation=90, fontsize=size)
    axes.set_yticks(range(classes), names, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    if classes <= _NUMBERS_UP_TO:
        for y, x in zip(*np.nonzero(rows >= 0.5), strict=True):
            color = "white" if rows[y, x] > 55 else "black"
            axes.text(x, y, f"{rows[y, x]:.0f}", ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(image, ax=axes, label="percent of the true class", shrink=0.7)
    return figure


def class_bars(found: Evaluation) -> Figure:
    """IoU of each class, before and after the CRF where there is one; the best class on top."""
    after = class_scores(found.final).iou
    order = np.argsort(np.nan_to_num(after))
    figure = Figure(figsize=(8, 0.28 * len(order) + 1.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(order))
    if found.after is not None:
        before = class_scores(found.before).iou
        axes.barh(places - 0.2, 100 * np.nan_to_num(before[order]), 0.4, color=BEFORE, label="before CRF")
        axes.barh(places + 0.2, 100 * np.nan_to_num(after[order]), 0.4, color=AFTER, label="after CRF")
        axes.legend(loc="lower right")
    else:
        axes.barh(places, 100 * np.nan_to_num(after[order]), 0.7, color=AFTER)
    axes.set_yticks(places, [found.names[i] for i in order])
    axes.set(xlabel="IoU, percent", xlim=(0, 100), ylim=(-0.7, len(order) - 0.3))
    axes.grid(axis="x", alpha=0.3)
    return figure


def image_histogram(found: Evaluation, threshold: float | None = None) -> Figure:
    """How many images have which mIoU."""
    values = 100 * np.array([row["miou"] for row in found.rows])
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.hist(values[~np.isnan(values)], bins=np.arange(0, 102.5, 2.5).tolist(), color=AFTER)
    if threshold is not None:
        axes.axvline(100 * threshold, color=BAD, linestyle="--", label="failures are below")
        axes.legend()
    axes.set(xlabel="mIoU of an image, percent", ylabel="images", xlim=(0, 100))
    return figure


def reliability(counts: Counts) -> Figure:
    """Accuracy against confidence, and how many pixels have which."""
    pixels, right, units = counts.calibration.astype(float)
    held = np.maximum(pixels, 1)
    edges = np.arange(CONFIDENCE_BINS) / CONFIDENCE_BINS
    figure = Figure(figsize=(5, 5), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    top.bar(edges, np.where(pixels > 0, right / held, 0), 1 / CONFIDENCE_BINS, align="edge", color=AFTER, edgecolor="w")
    used = pixels > 0
    top.plot((units / CONFIDENCE_UNIT / held)[used], (right / held)[used], "k.", label="mean confidence of the bin")
    top.plot([0, 1], [0, 1], color="#888", linestyle="--")
    top.set(ylabel="accuracy", ylim=(0, 1), title=f"expected calibration error {100 * calibration_error(counts):.1f} %")
    top.legend(loc="upper left")
    bottom.bar(edges, pixels / max(pixels.sum(), 1), 1 / CONFIDENCE_BINS, align="edge", color=BEFORE, edgecolor="w")
    bottom.set(xlabel="confidence", ylabel="share of pixels", xlim=(0, 1))
    return figure


def failure_bars(failures: Failures, most: int = 40) -> Figure:
    """mIoU of the failures, the worst on top."""
    shown = failures.rows[:most][::-1]
    figure = Figure(figsize=(7, 0.22 * len(shown) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.barh([row["image"] for row in shown], [100 * row["miou"] for row in shown], color=BAD)
    axes.set(xlabel="mIoU, percent", ylim=(-0.7, len(shown) - 0.3))
    axes.tick_params(axis="y", labelsize=7)
    return figure


def evaluation_plots(found: Evaluation, failures: Failures | None = None) -> dict[str, Figure]:
    """All plots that this evaluation has, by name."""
    plots = {
        "confusion": confusion_heatmap(found.final.confusion, found.names, "all images"),
        "class_iou": class_bars(found),
        "image_miou": image_histogram(found, failures.threshold if failures else None),
    }
    if found.final.calibration.any():
        plots["reliability"] = reliability(found.final)
    if failures and failures.rows:
        plots["failures"] = failure_bars(failures)
        title = f"{len(failures.rows)} failures"
        plots["confusion_failures"] = confusion_heatmap(failures.confusion, found.names, title)
    return plots


def save_plots(plots: dict[str, Figure], folder: Path) -> None:
    """Writes NAME.png and NAME.svg of each."""
    for name, figure in plots.items():
        for suffix in ("png", "svg"):
            with atomic_path(folder / f"{name}.{suffix}") as temporary:
                figure.savefig(temporary, format=suffix, dpi=120)
