"""An evaluation folder: everything that `segtool eval --out` writes."""

import heapq
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segtool.card import ClassInfo
from segtool.evaluation.curves import training_curves
from segtool.evaluation.evaluate import Evaluation, Progress, evaluate_with
from segtool.evaluation.examine import Examined, examine, failing, worsened, worth_showing
from segtool.evaluation.failures import Failures, collect_failures, write_rows
from segtool.evaluation.findings import findings
from segtool.evaluation.plots import crf_gallery, evaluation_plots, save_plots
from segtool.evaluation.report.image_cards import Card, evaluation_card
from segtool.evaluation.report.page import write_report
from segtool.evaluation.summary import write_summary
from segtool.evaluation.table import TableFiles
from segtool.evaluation.workers import Workers
from segtool.files import write_text

REPLICATES_FILE = "replicates.csv"
_GALLERY = 3  # images with the largest gain and with the largest loss
_WORSENED = 40  # images for which it is asked which kernel did it


@dataclass
class _Looks:
    """What is kept of the images that were examined: cards of those to be shown, and the extremes of the CRF."""

    classes: Sequence[ClassInfo]
    shown: set[int]
    cards: list[Card] = field(default_factory=list)
    best: list[tuple[float, int, Examined]] = field(default_factory=list)
    worst: list[tuple[float, int, Examined]] = field(default_factory=list)

    def __call__(self, image: Examined) -> None:
        if image.image_index in self.shown:
            self.cards.append(evaluation_card(image, self.classes))
        gain = image.row.get("crf_gain", float("nan"))
        for heap, rank in ((self.best, gain), (self.worst, -gain)):
            if rank > 0:
                heapq.heappush(heap, (rank, image.image_index, image))
                if len(heap) > _GALLERY:
                    heapq.heappop(heap)

    def gallery(self) -> list[Examined]:
        """Largest gains, then largest losses."""
        return [image for heap in (self.best, self.worst) for _, _, image in sorted(heap)[::-1]]


def evaluate_into(
    out: Path,
    workers: Workers,
    *,
    threshold: float | None = None,
    pictures: int = 120,
    about: dict[str, Any] | None = None,
    history: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> tuple[Evaluation, Failures | None]:
    """Scores a split and writes tables, summary, plots, failures and report.html.

    Args:
        out: the folder.
        threshold: of mIoU, below which an image is a failure; None looks for no failures.
        pictures: how many images the report shows.
        about: what summary and report say of model and data.
        history: history.jsonl of the run that made the model, for its curves.
    """
    about = about or {}
    _remove_earlier(out)
    with TableFiles(out) as table:
        found = evaluate_with(workers, table, progress)
    write_summary(found, out / "summary.json", **about)
    _write_replicates(found, out / REPLICATES_FILE)
    failures, looks = _look_closer(out, workers, found, threshold, pictures)
    plots = evaluation_plots(found, failures if threshold is not None else None)
    if gallery := looks.gallery():
        plots["crf_gallery"] = crf_gallery(gallery, workers.dataset.classes)
    if history is not None and history.is_file():
        plots["training"] = training_curves(history)
    save_plots(plots, out / "plots")
    inline = {name: figure for name, figure in plots.items() if name != "crf_gallery"}  # its images are there anyway
    lines = findings(found, failures, threshold is not None)
    write_report(out / "report.html", found, looks.cards, inline, workers.dataset.classes, lines, about)
    return found, failures if threshold is not None else None


def _remove_earlier(out: Path) -> None:
    """What an earlier evaluation in the same folder wrote and this one may not: it would look like this one's."""
    (out / "crf_made_worse.csv").unlink(missing_ok=True)
    if (out / "failures" / "failures.csv").is_file():
        shutil.rmtree(out / "failures")


def _look_closer(
    out: Path, workers: Workers, found: Evaluation, threshold: float | None, pictures: int
) -> tuple[Failures, _Looks]:
    shown = worth_showing(found, pictures, threshold)
    looks = _Looks(workers.dataset.classes, set(shown))
    indices = list(dict.fromkeys([*(failing(found, threshold) if threshold is not None else []), *shown]))
    indices = list(dict.fromkeys([*indices, *worsened(found)[:_WORSENED]]))
    folder = None if threshold is None else out / "failures"
    failures = collect_failures(
        examine(workers, indices), threshold or 0.0, workers.dataset.classes, folder, also=looks
    )
    if failures.worsened:
        write_rows(failures.worsened, out / "crf_made_worse.csv")
    return failures, looks


def _write_replicates(found: Evaluation, path: Path) -> None:
    """mIoU of each bootstrap replicate, so that two evaluations of the same images can be compared in pairs."""
    before, after = found.bootstrap.replicates()
    lines = ["before_crf,after_crf", *(f"{b:.17g},{a:.17g}" for b, a in zip(before, after, strict=True))]
    write_text(path, "\n".join(lines) + "\n")
