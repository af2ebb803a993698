"""Training curves of a run, from its history.jsonl."""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from segtool.files import atomic_path


def read_history(path: Path) -> list[dict[str, Any]]:
    """The rows of a history.jsonl."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def training_curves(history: Path) -> Figure:
    """Loss and validation mIoU over the epochs of all stages."""
    rows = read_history(history)
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for stage in dict.fromkeys(row["stage"] for row in rows):
        points = [(i + 1, row) for i, row in enumerate(rows) if row["stage"] == stage]
        left.plot([i for i, _ in points], [row["loss"] for _, row in points], marker=".", label=stage)
    for key, label in (("before_crf", "before CRF"), ("after_context", "after context"), ("after_crf", "after CRF")):
        points = [(i + 1, row) for i, row in enumerate(rows) if row.get(key)]
        if points:
            right.plot([i for i, _ in points], [100 * row[key]["miou"] for _, row in points], marker="o", label=label)
    left.set(xlabel="epoch", ylabel="training loss")
    right.set(xlabel="epoch", ylabel="validation mIoU, percent")
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    return figure


def save_curves(history: Path, path: Path) -> None:
    """The same as a PNG; nothing for a run without epochs."""
    if history.is_file():
        with atomic_path(path) as temporary:
            training_curves(history).savefig(temporary, dpi=120)
