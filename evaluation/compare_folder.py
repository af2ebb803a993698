"""What `segtool eval --compare A B --out` writes: tables, plots, and a page with the largest changes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from segtool.card import ClassInfo
from segtool.evaluation.compare import Comparison
from segtool.evaluation.examine import Examined, examine_image
from segtool.evaluation.plots import change_bars, change_scatter, save_plots
from segtool.evaluation.report.image_cards import Card, base_card, error_layer, label_layer
from segtool.evaluation.report.page import color_of, column, inline_plots, page_data, percent, write_page
from segtool.evaluation.workers import Opener
from segtool.files import atomic_path, write_json

LAYERS = ("truth", "A", "B", "errors of A", "errors of B")


def write_comparison(out: Path, found: Comparison, openers: tuple[Opener, Opener], pictures: int) -> None:
    """Writes comparison.json, images.csv, classes.csv, plots/ and report.html.

    Args:
        openers: of the two models with their data; called only if `pictures` is above 0.
        pictures: how many images are predicted by both and shown: half with the largest loss, half with the largest
            gain.
    """
    better, worse, same = found.counts
    record: dict[str, Any] = {
        **{side: str(saved.folder) for side, saved in (("a", found.a), ("b", found.b))},
        "miou": found.miou,
        "difference_95_percent_interval": found.interval,
        "wilcoxon_p": found.p_value,
        "images": {"better": better, "worse": worse, "same": same, "only_a": found.only[0], "only_b": found.only[1]},
    }
    write_json(out / "comparison.json", record)
    for name, table in (("images", found.images), ("classes", found.classes)):
        with atomic_path(out / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    plots = {"images": change_scatter(found.images), "classes": change_bars(found.classes)}
    save_plots(plots, out / "plots")
    cards, classes = _cards(found, openers, pictures) if pictures else ([], [])
    _write_page(out / "report.html", found, cards, classes, plots)


def _cards(found: Comparison, openers: tuple[Opener, Opener], pictures: int) -> tuple[list[Card], Sequence[ClassInfo]]:
    (first, dataset), (second, same) = openers[0](), openers[1]()  # each reads images as its model takes them
    ranked = found.images.dropna(subset=["difference"])["image"].tolist()
    half = (pictures + 1) // 2
    chosen = dict.fromkeys([*ranked[:half], *ranked[::-1][: pictures - half]])
    index = {dataset.identifier(i): i for i in range(len(dataset))}
    cards = []
    for name in chosen:
        a, b = examine_image(first, dataset, index[name]), examine_image(second, same, index[name])
        cards.append(_card(a, b, dataset.classes))
    return cards, dataset.classes


def _card(a: Examined, b: Examined, classes: Sequence[ClassInfo]) -> Card:
    truth, predictions = a.sample.labels, {"A": a.prediction.labels, "B": b.prediction.labels}
    card = base_card(b.row, a.sample.image, classes)
    by_class = [b.row[f"iou_{c.name}"] - a.row[f"iou_{c.name}"] for c in classes]
    card |= {
        "miou_a": a.row["miou"],
        "miou_b": b.row["miou"],
        "difference": b.row["miou"] - a.row["miou"],
        "class_iou": [None if np.isnan(v) else float(v) for v in by_class],
        "layers": {
            "truth": label_layer(truth, classes),
            **{name: label_layer(labels, classes) for name, labels in predictions.items()},
            **{f"errors of {name}": error_layer(truth, labels, len(classes)) for name, labels in predictions.items()},
        },
    }
    card["text"] = f"mIoU {100 * card['miou_a']:.1f} (A), {100 * card['miou_b']:.1f} (B)"
    return card


def _write_page(
    path: Path, found: Comparison, cards: list[Card], classes: Sequence[ClassInfo], plots: dict[str, Figure]
) -> None:
    columns = [
        column("image", "image", "text"),
        column("class_iou", "class, B - A", "signed"),
        column("difference", "B - A", "signed"),
        column("miou_a", "mIoU A"),
        column("miou_b", "mIoU B"),
    ]
    colors = {c.name: color_of(c) for c in classes}
    rows = [
        {
            "name": row["class"],
            "color": colors.get(row["class"], "transparent"),
            "width": f"{100 * np.nan_to_num(row['iou_b']):.1f}",
            "cells": [percent(row["iou_b"]), percent(row["iou_a"]), percent(row["difference"], "+")],
        }
        for row in found.classes.to_dict("records")
    ]
    write_page(
        path,
        title="Comparison of two evaluations",
        about={"A": found.a.summary.get("model", found.a.folder), "B": found.b.summary.get("model", found.b.folder)},
        tiles=_tiles(found),
        findings=comparison_lines(found),
        cards=cards,
        shown_note="Percent. The images with the largest changes; all are in images.csv.",
        filters=[],
        class_headings=["class", "IoU of B, percent", "IoU of A", "B - A"],
        class_rows=rows,
        plots=inline_plots(plots),
        data=page_data(cards, classes, columns=columns, layers=LAYERS, thumb="errors of B", sort="difference"),
    )


def comparison_lines(found: Comparison) -> list[str]:
    """What a reader should know first."""
    better, worse, same = found.counts
    lines = [f"{better} images got better, {worse} worse, {same} neither."]
    if found.interval is not None:
        low, high = found.interval
        verdict = "does not hold 0" if low > 0 or high < 0 else "holds 0: it may be chance"
        lines.append(f"The 95 % interval of the difference (paired bootstrap over images) {verdict}.")
    lines.append(f"Wilcoxon's signed-rank test over images: p = {found.p_value:.2g}.")
    if any(found.only):
        lines.append(f"Not the same images: {found.only[0]} only in A, {found.only[1]} only in B were left out.")
    changes = found.classes.dropna()
    for title, table in (("lost", changes[changes["difference"] < 0]), ("gained", changes[::-1])):
        named = [(r["class"], r["difference"]) for r in table[:3].to_dict("records") if r["difference"]]
        named = [pair for pair in named if (pair[1] < 0) == (title == "lost")]
        if named:
            lines.append(f"Classes that {title}: " + ", ".join(f"{c} {100 * d:+.1f}" for c, d in named) + ".")
    return lines


def _tiles(found: Comparison) -> list[dict[str, str]]:
    a, b = found.miou
    note = (
        "" if found.interval is None else "95 % interval {:+.1f} .. {:+.1f}".format(*(100 * v for v in found.interval))
    )
    better, worse, _ = found.counts
    return [
        {"name": "mIoU of A", "value": f"{100 * a:.1f} %", "note": ""},
        {"name": "mIoU of B", "value": f"{100 * b:.1f} %", "note": ""},
        {"name": "difference", "value": f"{100 * (b - a):+.1f}", "note": note},
        {"name": "images", "value": f"{better} better", "note": f"{worse} worse"},
    ]
