"""Tables that commands print."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from segtool.card import ParityRecord, Scores, ValidationScores

_COLUMNS = (("mIoU", "miou"), ("pixel acc.", "pixel_accuracy"), ("boundary F", "boundary_f"))


def console() -> Console:
    """Standard output; wide enough for a table when it is a file."""
    found = Console()
    return found if found.is_terminal else Console(width=110)


def print_stages(done: Mapping[str, ValidationScores]) -> None:
    """Scores of each stage, before and after the CRF side by side."""
    console().print("validation, percent: before CRF -> after CRF")
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
    return f"{before:.2f} -> {after:.2f} ({after - before:+.2f})"


def print_scores(before: Scores, after: Scores | None, names: list[str], iou: list[list[float]]) -> None:
    """Summary and IoU by class; `iou` holds one list before and, with a CRF, one after."""
    titles = ["before CRF", "after CRF", "difference"] if after else ["value"]
    table = Table()
    table.add_column("percent")
    for title in titles:
        table.add_column(title, justify="right")
    for title, field in _COLUMNS:
        values = [getattr(s, field) for s in (before, after) if s is not None]
        table.add_row(title, *_cells(values))
    table.add_section()
    for index, name in enumerate(names):
        table.add_row(f"IoU {name}", *_cells([row[index] for row in iou]))
    console().print(table)


def _cells(values: list[float]) -> list[str]:
    cells = ["-" if v != v else f"{100 * v:.2f}" for v in values]
    if len(values) == 2:
        difference = values[1] - values[0]
        cells.append("-" if difference != difference else f"{100 * difference:+.2f}")
    return cells


def print_parity(records: list[ParityRecord]) -> None:
    """One row for each backend."""
    console().print("the exported model against PyTorch")
    table = Table()
    for title in ("backend", "images", "same labels", "max |dp|", "mean |dp|", ""):
        table.add_column(title, justify="left" if title in ("backend", "") else "right")
    for r in records:
        agreement = f"{100 * r.label_agreement:.4f} %"
        numbers = (f"{r.max_abs_dp:.1e}", f"{r.mean_abs_dp:.1e}")
        table.add_row(r.backend, str(r.images), agreement, *numbers, "ok" if r.passed else "DIFFERS")
    console().print(table)
