"""An evaluation as one self-contained HTML page: it works from disk and loads nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from segtool.card import ClassInfo
from segtool.evaluation.counts import TOLERANCES
from segtool.evaluation.evaluate import Evaluation
from segtool.evaluation.plots import inline_svg
from segtool.evaluation.report.image_cards import Card
from segtool.evaluation.report.templates import fill
from segtool.evaluation.scores import SetScores, class_scores

_NARROW = 8.5  # inches; figures up to that lie side by side


def write_page(path: Path, **content: Any) -> None:
    """Fills page.html; see there for what it wants."""
    fill("page.html", path, **content)


def page_data(cards: Sequence[Card], classes: Sequence[ClassInfo], **more: Any) -> str:
    """What the page's script reads, safe inside a script element."""
    named = [{"id": c.id, "name": c.name, "color": color_of(c)} for c in classes]
    return json.dumps({"cards": cards, "classes": named, **more}, separators=(",", ":")).replace("<", "\\u003c")


def inline_plots(plots: dict[str, Figure]) -> list[dict[str, Any]]:
    """Figures as SVG, with where they go."""
    return [{"name": n, "svg": inline_svg(f), "wide": f.get_figwidth() > _NARROW} for n, f in plots.items()]


def color_of(info: ClassInfo) -> str:
    """As CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*info.color)


def percent(value: float, sign: str = "") -> str:
    """A cell of a table; `sign` "+" shows the sign of gains too."""
    return "-" if np.isnan(value) else f"{100 * value:{sign}.1f}"


def write_report(
    path: Path,
    found: Evaluation,
    cards: Sequence[Card],
    plots: dict[str, Figure],
    classes: Sequence[ClassInfo],
    findings: Sequence[str],
    about: dict[str, Any],
) -> None:
    """Writes the report of an evaluation.

    Args:
        cards: of the images that are to be looked at.
        findings: sentences for its head.
        about: what the head says of model and data.
    """
    gains = found.after is not None
    between = ["after context"] if found.context is not None else []
    layers = ["truth", *(["before CRF"] if gains else []), *between, "prediction", "errors"]
    shown = f"{len(cards)} of {found.images} images, chosen for what went wrong; all are in images.csv."
    write_page(
        path,
        title="Evaluation",
        about={**about, "images": found.images},
        tiles=_tiles(found),
        findings=findings,
        cards=cards,
        shown_note="Percent." if len(cards) == found.images else f"Percent. {shown}",
        filters=_filters(cards),
        class_headings=["class", "IoU, percent", *(["change by CRF"] if gains else []), "precision", "recall", "F1"],
        class_rows=_class_rows(found, classes),
        plots=inline_plots(plots),
        data=page_data(cards, classes, columns=_columns(gains), layers=layers, thumb="errors", sort="miou"),
    )


def _columns(gains: bool) -> list[dict[str, str]]:
    """Of the table of images."""
    return [
        column("image", "image", "text"),
        column("class_iou", "class IoU"),
        column("miou", "mIoU"),
        *([column("crf_gain", "CRF", "signed")] if gains else []),
        column("boundary_f_2px", "boundary F", minor=True),
        column("pixel_accuracy", "pixel acc.", minor=True),
        column("confidence", "confidence", minor=True),
        column("void", "void", minor=True),
        column("kind", "kind of failure", "text"),
        column("errors", "most errors", "text", minor=True),
    ]


def column(key: str, title: str, kind: str = "percent", minor: bool = False) -> dict[str, str]:
    """A column of the page's table; `kind` is text, percent or signed, `minor` ones are hidden on a narrow screen."""
    classes = [*(["text"] if kind == "text" else []), *(["minor"] if minor else [])]
    return {"key": key, "title": title, "kind": kind, "className": " ".join(classes)}


def _filters(cards: Sequence[Card]) -> list[dict[str, Any]]:
    """Choices that at least two images tell apart."""
    wanted = (("kind", "failure"), ("cause", "CRF harm by"))
    values = {key: sorted({card[key] for card in cards} - {""}) for key, _ in wanted}
    return [{"key": key, "label": label, "values": values[key]} for key, label in wanted if values[key]]


def _tiles(found: Evaluation) -> list[dict[str, str]]:
    before, after = found.scores()
    final = after or before
    low, high = found.bootstrap.miou()[1 if after else 0]
    at = TOLERANCES.index(2)

    def tile(name: str, pick: Any, note: str) -> dict[str, str]:
        made = {"name": name, "value": f"{100 * pick(final):.1f} %", "note": note}
        if after is not None:
            change = 100 * (pick(after) - pick(before))
            direction = "good" if change >= 0 else "bad"
            made |= {"change": f"{change:+.1f} by CRF", "direction": direction}
        return made

    images = (found.boundary_after if after else found.boundary_before).values[at]

    def boundary(scores: SetScores) -> float:
        return scores.boundary_f[at]

    calibration = {
        "name": "calibration error",
        "value": f"{100 * final.calibration_error:.1f} %",
        "note": "expected; 0 is perfect",
    }
    if found.after is not None and found.before.calibration.any():
        change = 100 * (final.calibration_error - before.calibration_error)
        calibration |= {"change": f"{change:+.1f} by CRF", "direction": "bad" if change > 0 else "good"}
    return [
        tile("mIoU", lambda s: s.miou, f"95 % interval {100 * low:.1f} .. {100 * high:.1f}"),
        tile("boundary F", boundary, f"within 2 px, of all images together; their mean is {100 * images:.1f} %"),
        tile("pixel accuracy", lambda s: s.pixel_accuracy, f"void {_void(found):.1f} % of the pixels"),
        tile("mean class accuracy", lambda s: s.mean_class_accuracy, "recall, mean over classes"),
        calibration,
    ]


def _void(found: Evaluation) -> float:
    void, labelled = int(found.final.void), int(found.final.confusion.sum())
    return 100 * void / max(void + labelled, 1)


def _class_rows(found: Evaluation, classes: Sequence[ClassInfo]) -> list[dict[str, Any]]:
    """Best class first; those that occur nowhere last."""
    scores = class_scores(found.final)
    before = class_scores(found.before).iou
    rows = []
    for i in np.argsort(np.nan_to_num(-scores.iou, nan=1.0), kind="stable"):
        change = [percent(scores.iou[i] - before[i], "+")] if found.after is not None else []
        cells = [
            percent(scores.iou[i]),
            *change,
            *(percent(v[i]) for v in (scores.precision, scores.recall, scores.f1)),
        ]
        width = 100 * np.nan_to_num(scores.iou[i])
        rows.append({"name": classes[i].name, "color": color_of(classes[i]), "width": f"{width:.1f}", "cells": cells})
    return rows
