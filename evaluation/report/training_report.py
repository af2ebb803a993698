"""A one-page report of a run: scores, curves and pictures in a single HTML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from segtool.card import ModelCard, ParityRecord, ValidationScores
from segtool.data import Sample
from segtool.drawing import data_uri
from segtool.evaluation.curves import training_curves
from segtool.evaluation.pictures import pictures_of
from segtool.evaluation.plots import inline_svg
from segtool.evaluation.report.templates import fill
from segtool.prediction import Prediction

_SCORES = {"miou": "mIoU", "boundary_f": "boundary F", "pixel_accuracy": "pixel accuracy"}
Picture = tuple[str, Sample, Prediction]


def write_report(
    path: Path,
    *,
    title: str,
    card: ModelCard,
    stages: dict[str, ValidationScores],
    parity: Sequence[ParityRecord],
    timings: dict[str, float],
    pictures: Sequence[Picture],
    history: Path | None,
) -> None:
    """Writes the report; needs no network to be read.

    Args:
        path: the HTML file.
        title: of the page.
        card: of the model.
        stages: scores of each stage.
        parity: what verification found, of each backend.
        timings: milliseconds an image, by backend.
        pictures: (name, image with truth, prediction), one row each.
        history: the run's history.jsonl, for the curves.
    """
    records = {record.backend: record for record in parity}
    curves = inline_svg(training_curves(history)) if history is not None and history.is_file() else None
    fill(
        "training.html",
        path,
        title=title,
        card=card,
        score_names=list(_SCORES.values()),
        stages=[{"name": name, "scores": [_score(found, key) for key in _SCORES]} for name, found in stages.items()],
        parity=[{"name": name, "record": records.get(name), "milliseconds": ms} for name, ms in timings.items()],
        curves=curves,
        pictures=[_row(card, picture) for picture in pictures],
    )


def _score(found: ValidationScores, key: str) -> dict[str, str]:
    before = 100 * getattr(found.before_crf, key)
    if found.after_crf is None:
        return {"before": f"{before:.2f}", "after": ""}
    after = 100 * getattr(found.after_crf, key)
    direction = "good" if after >= before else "bad"
    return {"before": f"{before:.2f}", "after": f"{after:.2f} ({after - before:+.2f})", "direction": direction}


def _row(card: ModelCard, picture: Picture) -> list[tuple[str, Any]]:
    """Captions and addresses of an image's pictures; the first has the image's name."""
    name, sample, prediction = picture
    shown = pictures_of(sample, prediction, card.colors)
    captions = [name, *list(shown)[1:]]
    return [(caption, data_uri(Image.fromarray(p))) for caption, p in zip(captions, shown.values(), strict=True)]
