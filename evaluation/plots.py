"""Plots of an evaluation, each a matplotlib figure; saved as PNG and SVG."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from segtool.card import ClassInfo
from segtool.drawing import colorize, overlay
from segtool.evaluation.counts import CONFIDENCE_BINS, CONFIDENCE_UNIT, Counts
from segtool.evaluation.evaluate import Evaluation
from segtool.evaluation.examine import Examined
from segtool.evaluation.failures import Failures
from segtool.evaluation.scores import calibration_error, class_scores
from segtool.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

BEFORE, AFTER, BAD = "#9aa5b1", "#2f6fb0", "#c0392b"
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
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
            color = "#ffffff" if rows[y, x] > 55 else "#111111"
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
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    else:
        axes.barh(places, 100 * np.nan_to_num(after[order]), 0.7, color=AFTER)
    axes.set_yticks(places, [found.names[i] for i in order])
    axes.set(xlabel="IoU, percent", xlim=(0, 100), ylim=(-0.7, len(order) - 0.3))
    axes.grid(axis="x", alpha=0.3)
    return figure


def image_histogram(found: Evaluation, threshold: float | None = None) -> Figure:
    """How many images have which mIoU."""
    values = 100 * np.array(found.mious)
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.hist(values[~np.isnan(values)], bins=np.arange(0, 102.5, 2.5).tolist(), color=AFTER)
    if threshold is not None:
        axes.axvline(100 * threshold, color=BAD, linestyle="--", label="failures are below")
        axes.legend(frameon=False)
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
    top.legend(loc="upper left", frameon=False)
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


def crf_gallery(images: Sequence[Examined], classes: Sequence[ClassInfo]) -> Figure:
    """Image, truth, before and after the CRF, one row for each image."""
    colors = [c.color for c in classes]
    figure = Figure(figsize=(12, 2.5 * len(images)), layout="constrained")
    for axes, image in zip(figure.subplots(len(images), 4, squeeze=False), images, strict=True):
        picture, prediction = image.sample.image, image.prediction
        assert prediction.unary_labels is not None
        shown = {
            str(image.row["image"]): picture,
            "truth": colorize(image.sample.labels, colors),
            f"before CRF, mIoU {100 * image.row['miou_before_crf']:.1f}": overlay(
                picture, prediction.unary_labels, colors, 0.75
            ),
            f"after, {100 * image.row['crf_gain']:+.1f}": overlay(picture, prediction.labels, colors, 0.75),
        }
        for axis, (title, pixels) in zip(axes, shown.items(), strict=True):
            step = max(1, max(pixels.shape) // 640)
            axis.imshow(pixels[::step, ::step])
            axis.set_title(title, fontsize=9)
            axis.set_axis_off()
    return figure


def change_scatter(images: "pd.DataFrame") -> Figure:
    """mIoU of each image in B against A; from `Comparison.images`."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    better = images["difference"] > 0
    for chosen, color, label in ((better, AFTER, "better in B"), (~better, BAD, "not better")):
        axes.plot(100 * images["miou_a"][chosen], 100 * images["miou_b"][chosen], ".", color=color, label=label)
    axes.plot([0, 100], [0, 100], color="#888888", linestyle="--")
    axes.set(xlabel="mIoU in A, percent", ylabel="mIoU in B, percent", xlim=(0, 100), ylim=(0, 100))
    axes.legend(frameon=False)
    return figure


def change_bars(classes: "pd.DataFrame") -> Figure:
    """Change of each class' IoU; from `Comparison.classes`."""
    values = 100 * classes["difference"].to_numpy()
    figure = Figure(figsize=(7, 0.25 * len(values) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(classes["class"], np.nan_to_num(values), color=[AFTER if v > 0 else BAD for v in values])
    axes.axvline(0, color="#888888", linewidth=0.8)
    axes.set(xlabel="IoU of B - IoU of A, points", ylim=(-0.7, len(values) - 0.3))
    axes.grid(axis="x", alpha=0.3)
    return figure


def evaluation_plots(found: Evaluation, failures: Failures | None = None) -> dict[str, Figure]:
    """All plots that the numbers give, by name."""
    plots = {
        "IoU_by_class": class_bars(found),
        "confusion": confusion_heatmap(found.final.confusion, found.names, "all images"),
        "mIoU_of_images": image_histogram(found, failures.threshold if failures else None),
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


def inline_svg(figure: Figure) -> str:
    """A figure as <svg> for a page: text stays text, black becomes the page's text colour, the background its own."""
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, dpi=120, metadata=_NO_METADATA)
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace("#000000", "currentColor")
