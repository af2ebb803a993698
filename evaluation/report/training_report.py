"""A one-page report of a run: scores, curves and pictures in a single HTML file."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from segtool.card import ModelCard, ParityRecord, ValidationScores
from segtool.data import Sample
from segtool.evaluation.curves import training_curves
from segtool.evaluation.pictures import pictures_of
from segtool.evaluation.plots import inline_svg
from segtool.files import write_text
from segtool.images import RGB, data_uri
from segtool.prediction import Prediction

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #2a8a4a; --bad: #c0392b; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .9rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
.good { color: var(--good); } .bad { color: var(--bad); }
.row { display: grid; grid-template-columns: repeat(4, 1fr); gap: 8px; margin: 8px 0 18px; }
.row img { width: 100%; image-rendering: pixelated; border-radius: 4px; display: block; }
.row figcaption, .small { font-size: .85rem; opacity: .75; } figure { margin: 0; }
.chip { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin: 0 6px 0 14px; }
.plot svg { max-width: 100%; height: auto; } .plot svg text { fill: currentColor; }
@media (max-width: 700px) { .row { grid-template-columns: repeat(2, 1fr); } }
"""


def write_report(
    path: Path,
    *,
    title: str,
    card: ModelCard,
    stages: dict[str, ValidationScores],
    parity: Sequence[ParityRecord],
    timings: dict[str, float],
    pictures: Sequence[tuple[str, Sample, Prediction]],
    history: Path | None,
) -> None:
    """Writes the report; needs no network to be read.

    Args:
        stages: scores of each stage; parity, timings (milliseconds an image) by backend.
        pictures: (name, image with truth, prediction), one row each.
        history: the run's history.jsonl, for the curves.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(card.architecture)} with {escape(card.encoder)}, trained on "
        f"{escape(card.trained_on.dataset)} ({card.trained_on.image_count} images), seed {card.seed}.</p>",
        "<h2>Scores on validation</h2>",
        _stage_table(stages),
        "<h2>The exported model against PyTorch</h2>",
        _parity_table(parity, timings),
    ]
    if history is not None and history.is_file():
        parts += ["<h2>Training</h2>", f"<div class=plot>{inline_svg(training_curves(history))}</div>"]
    parts += ["<h2>Pictures</h2>", _legend(card), *(_picture_row(card, *p) for p in pictures)]
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
    write_text(
        path,
        f"<!doctype html><html lang=en><head>{head}<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>",
    )


def _stage_table(stages: dict[str, ValidationScores]) -> str:
    titles = "".join(f"<th>{name} before<th>after CRF" for name in ("mIoU", "boundary F", "pixel accuracy"))
    rows = [f"<tr><th>stage{titles}"]
    for name, scores in stages.items():
        cells = "".join(_before_after(scores, f) for f in ("miou", "boundary_f", "pixel_accuracy"))
        rows.append(f"<tr><td>{escape(name)}{cells}")
    note = "Percent. Boundary F within 2 pixels, of all images together, mean over classes."
    return f"<table>{''.join(rows)}</table><p class=small>{note}</p>"


def _before_after(scores: ValidationScores, field: str) -> str:
    before = 100 * getattr(scores.before_crf, field)
    if scores.after_crf is None:
        return f"<td>{before:.2f}<td>"
    after = 100 * getattr(scores.after_crf, field)
    return f"<td>{before:.2f}<td class={'good' if after >= before else 'bad'}>{after:.2f} ({after - before:+.2f})"


def _parity_table(parity: Sequence[ParityRecord], timings: dict[str, float]) -> str:
    rows = ["<tr><th>backend<th>images<th>same labels<th>max |dp|<th>ms an image<th>"]
    records = {record.backend: record for record in parity}
    for name, milliseconds in timings.items():
        cells = "<td>-<td>-<td>-"
        verdict = ""
        if (r := records.get(name)) is not None:
            cells = f"<td>{r.images}<td>{100 * r.label_agreement:.4f} %<td>{r.max_abs_dp:.1e}"
            verdict = "<span class=good>same model</span>" if r.passed else "<span class=bad>differs</span>"
        rows.append(f"<tr><td>{escape(name)}{cells}<td>{milliseconds:.1f}<td>{verdict}")
    return f"<table>{''.join(rows)}</table>"


def _legend(card: ModelCard) -> str:
    chips = (f"<span class=chip style='background:rgb{c.color}'></span>{escape(c.name)}" for c in card.classes)
    return f"<p>{''.join(chips)}</p>"


def _picture_row(card: ModelCard, name: str, sample: Sample, prediction: Prediction) -> str:
    pictures = pictures_of(sample, prediction, card.colors)
    captions = [name, *list(pictures)[1:]]
    figures = map(_figure, captions, pictures.values())
    return f"<div class=row>{''.join(figures)}</div>"


def _figure(caption: str, picture: RGB) -> str:
    address, text = data_uri(Image.fromarray(picture)), escape(caption)
    return f"<figure><img alt='{text}' src='{address}'><figcaption>{text}</figcaption></figure>"
