"""Tables that commands print."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from segtool.card import ParityRecord, ValidationScores

if TYPE_CHECKING:
    from segtool.evaluation.compare import Comparison
    from segtool.evaluation.evaluate import Evaluation
    from segtool.evaluation.failures import Failures

_WORSENED = 10  # rows of the table of images that the CRF made worse
_SET_ROWS = (
    ("frequency-weighted IoU", "frequency_weighted_iou"),
    ("pixel accuracy", "pixel_accuracy"),
    ("mean class accuracy", "mean_class_accuracy"),
    ("mean F1 (Dice)", "mean_f1"),
)
_COLUMNS = (("mIoU", "miou"), ("pixel acc.", "pixel_accuracy"), ("boundary F", "boundary_f"))


def console() -> Console:
    """Standard output; wide enough for a table when it is a file."""
    # Names of classes and files are text, whatever brackets they have.
    found = Console(markup=False, highlight=False)
    return found if found.is_terminal else Console(width=110, markup=False, highlight=False)


def print_stages(done: Mapping[str, ValidationScores]) -> None:
    """Scores of each stage, before and after each CRF side by side."""
    between = " -> after context" if any(scores.after_context for scores in done.values()) else ""
    console().print(f"validation, percent: before CRF{between} -> after CRF")
    table = Table()
    table.add_column("stage")
    for title, _ in _COLUMNS:
        table.add_column(title, justify="right")
    for stage, scores in done.items():
        table.add_row(stage, *(_pair(scores, field) for _, field in _COLUMNS))
    console().print(table)


def _pair(scores: ValidationScores, field: str) -> str:
    before = 100 * getattr(scores.before_crf, field)
    if scores.after_crf is None:
        return f"{before:.2f}"
    after = 100 * getattr(scores.after_crf, field)
    between = f" -> {100 * getattr(scores.after_context, field):.2f}" if scores.after_context is not None else ""
    return f"{before:.2f}{between} -> {after:.2f} ({after - before:+.2f})"


def print_evaluation(found: "Evaluation") -> None:
    """Scores of the set with their intervals, then IoU by class."""
    from segtool.evaluation.counts import TOLERANCES
    from segtool.evaluation.scores import class_scores, set_scores

    columns = found.columns
    counts, means = [column[0] for column in columns.values()], [column[1].values for column in columns.values()]
    scores = [set_scores(c) for c in counts]
    titles = [*(name.replace("_", " ").replace("crf", "CRF") for name in columns), *["difference"] * (len(columns) > 1)]
    table = Table()
    table.add_column("percent")
    for title in titles:
        table.add_column(title, justify="right")
    table.add_row("mIoU", *_cells([s.miou for s in scores]))
    table.add_row("  95 % interval", *_intervals(found))
    for title, field in _SET_ROWS:
        table.add_row(title, *_cells([getattr(s, field) for s in scores]))
    for k, tolerance in enumerate(TOLERANCES):
        table.add_row(f"boundary F, {tolerance} px", *_cells([s.boundary_f[k] for s in scores]))
    for k, tolerance in enumerate(TOLERANCES):
        table.add_row(f"boundary F, {tolerance} px, mean over images", *_cells([values[k] for values in means]))
    for k, tolerance in enumerate(TOLERANCES):
        table.add_row(f"IoU within {tolerance} px of a boundary", *_cells([s.trimap_iou[k] for s in scores]))
    errors = [s.calibration_error if c.calibration.any() else math.nan for s, c in zip(scores, counts, strict=True)]
    table.add_row("calibration error", *_cells(errors))
    table.add_section()
    each = [class_scores(c).iou for c in counts]
    for index, name in enumerate(found.names):
        table.add_row(f"IoU {name}", *_cells([float(row[index]) for row in each]))
    console().print(table)


def _intervals(found: "Evaluation") -> list[str]:
    """Of before, after and the difference; what lies between has none."""
    cells = [f"{100 * i.low:.2f} .. {100 * i.high:.2f}" for i in found.bootstrap.miou()]
    if found.after is None:
        return cells[:1]
    return [cells[0], *[""] * (found.context is not None), *cells[1:]]


def print_failures(failures: "Failures") -> None:
    """The failures, worst first."""
    rows, percent = failures.rows, 100 * failures.threshold
    console().print(f"{len(rows)} images with an mIoU below {percent:.0f} percent, the worst first")
    if rows:
        console().print(_failure_table(rows))
    if failures.worsened:
        console().print("where the CRF made it worse, and which kernel moved the labels")
        console().print(_blame_table(failures.worsened[:_WORSENED]))


def _failure_table(rows: list[dict[str, Any]]) -> Table:
    table = Table()
    for title in ("image", "mIoU", "kind", "most of the errors", "CRF gain"):
        table.add_column(title, justify="right" if title in ("mIoU", "CRF gain") else "left")
    for row in rows:
        pair = f"{row['true_class']} taken for {row['predicted_class']} ({100 * row['share_of_errors']:.0f} %)"
        kind = f"{row['kind']} ({100 * row.get(row['kind'], 0):.0f} %)"
        table.add_row(row["image"], f"{100 * row['miou']:.1f}", kind, pair, *_cells([row["crf_gain"]]))
    return table


def _blame_table(rows: list[dict[str, Any]]) -> Table:
    table = Table()
    for title in ("image", "CRF gain", "pixels harmed", "mended", "kernel"):
        table.add_column(title, justify="left" if title in ("image", "kernel") else "right")
    for row in rows:
        pixels = (str(row["harmed_pixels"]), str(row["mended_pixels"]))
        cause = f"{row['cause']} ({100 * row[row['cause']]:.0f} %)" if row["cause"] else "-"
        table.add_row(row["image"], *_cells([row["crf_gain"]]), *pixels, cause)
    return table


def print_comparison(found: "Comparison") -> None:
    """mIoU of both, what it means, and the classes, the greatest loss first."""
    from segtool.evaluation.compare_folder import comparison_lines

    table = Table()
    for title in ("percent", "A", "B", "B - A"):
        table.add_column(title, justify="left" if title == "percent" else "right")
    table.add_row("mIoU", *_cells([*found.miou]))
    if found.interval is not None:
        table.add_row("  95 % interval", "", "", "{:+.2f} .. {:+.2f}".format(*(100 * v for v in found.interval)))
    table.add_section()
    for row in found.classes.to_dict("records"):
        table.add_row(f"IoU {row['class']}", *_cells([row["iou_a"], row["iou_b"]]))
    console().print(table)
    for line in comparison_lines(found):
        console().print(line)


def _cells(values: list[float]) -> list[str]:
    cells = ["-" if v != v else f"{100 * v:.2f}" for v in values]
    if len(values) > 1:
        difference = values[-1] - values[0]
        cells.append("-" if difference != difference else f"{100 * difference:+.2f}")
    return cells


def print_parity(records: list[ParityRecord]) -> None:
    """One row for each backend."""
    console().print("the exported model against PyTorch")
    table = Table()
    for title in ("backend", "images", "same labels", "max |dp|", "mean |dp|", "mIoU", ""):
        table.add_column(title, justify="left" if title in ("backend", "") else "right")
    for r in records:
        agreement = f"{100 * r.label_agreement:.4f} %"
        moved = "" if r.miou_difference is None else f"{100 * r.miou_difference:+.3f}"
        numbers = (f"{r.max_abs_dp:.1e}", f"{r.mean_abs_dp:.1e}", moved)
        table.add_row(r.backend, str(r.images), agreement, *numbers, "ok" if r.passed else "DIFFERS")
    console().print(table)
    for r in records:
        if r.culprit is not None:
            console().print(f"{r.backend}: {r.culprit}")
