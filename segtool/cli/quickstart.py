"""segtool quickstart"""

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segtool.cli.options import echo, run_or_say_how_to_resume

if TYPE_CHECKING:
    from segtool.card import ParityRecord
    from segtool.data import Sample
    from segtool.images import RGB
    from segtool.prediction import Prediction
    from segtool.train.stages.piecewise import PiecewiseTrainer

_TORCH = "PyTorch"
_NATIVE, _BODIES = "ONNX Runtime CPU, native library", "ONNX Runtime CPU, function bodies"


@click.command("quickstart")
@click.option("--out", default="runs/quickstart", show_default=True, type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True)
@click.option("--resume", is_flag=True, help="Continue an interrupted quickstart.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As for segtool train.")
def command(out: Path, seed: int, resume: bool, overrides: tuple[str, ...]) -> None:
    """Train, export, verify and draw a CNN + CRF on built-in data, in minutes on a CPU."""
    from segtool.cli.tables import print_parity, print_stages
    from segtool.export.onnx_export import export_onnx
    from segtool.train.config.presets import load_config
    from segtool.train.stages.piecewise import PiecewiseTrainer

    start = time.perf_counter()
    config = load_config("quickstart", [f"seed={seed}", *overrides])
    trainer = PiecewiseTrainer(config, "synthetic", out, ["unary", "crf", "joint"], resume=resume, report=echo)
    run_or_say_how_to_resume(trainer)
    model = out / "model.onnx"
    echo("exporting to one ONNX file")
    export_onnx(out, model)
    echo("verifying it against PyTorch")
    samples = [trainer.val_set.load(i) for i in range(20)]
    records = _verified(out, model, samples)
    timings, pictures = _run_models(out, model, [s.image for s in samples])
    names = [trainer.val_set.identifier(i) for i in range(len(samples))]
    _draw(out, trainer, records, timings, list(zip(names, samples, pictures, strict=False)))
    print_stages(trainer.state.done)
    print_parity(records)
    echo("milliseconds an image: " + ", ".join(f"{name} {ms:.1f}" for name, ms in timings.items()))
    echo(f"done in {time.perf_counter() - start:.0f} s; report: {out / 'report.html'}")
    echo(
        f"""next:
  segtool demo {out}                             try it in a browser
  segtool predict {model} IMAGES --out masks     segment your own images
  segtool train --preset quickstart --data folder:PATH --out runs/mine     train on your own data"""
    )
    if not all(record.passed for record in records):
        echo("segtool: the exported model differs from PyTorch")
        sys.exit(1)


def _verified(run: Path, model: Path, samples: "list[Sample]") -> "list[ParityRecord]":
    from segtool.export.comparison import Case
    from segtool.export.verify import store_parity, verify
    from segtool.files import write_json

    records = verify(run, model, (Case(*sample) for sample in samples))
    store_parity(model, records)
    write_json(run / "model.parity.json", [record.model_dump() for record in records])
    return records


def _run_models(run: Path, model: Path, images: "list[RGB]") -> "tuple[dict[str, float], list[Prediction]]":
    """Median milliseconds by backend, and the native predictions of the first images."""
    from statistics import median

    from segtool.cli.models import open_model
    from segtool.cli.timing import interleaved_times

    native, bodies, torch = open_model(model)[0], open_model(model, native=False)[0], open_model(run)[0]
    backends = {_TORCH: torch, _NATIVE: native, _BODIES: bodies}
    times = interleaved_times([partial(p, images[0]) for p in backends.values()], runs=5)
    timings = {name: 1000 * median(values) for name, values in zip(backends, times, strict=True)}
    return timings, [native(image) for image in images[:6]]


def _draw(
    out: Path,
    trainer: "PiecewiseTrainer",
    records: "list[ParityRecord]",
    timings: dict[str, float],
    pictures: "list[tuple[str, Sample, Prediction]]",
) -> None:
    """The report, and the pictures as files."""
    from segtool.drawing import overlay, save_image
    from segtool.evaluation.report.training_report import write_report
    from segtool.train.checkpoint_file import MODEL_FILE, read_card

    card = read_card(out / MODEL_FILE)
    write_report(
        out / "report.html",
        title="segtool quickstart",
        card=card,
        stages=trainer.state.done,
        parity=records,
        timings=timings,
        pictures=pictures,
        history=out / "history.jsonl",
    )
    for name, sample, prediction in pictures:
        save_image(out / "pictures" / f"{name}.png", sample.image)
        before = prediction.labels if prediction.unary_labels is None else prediction.unary_labels
        for kind, labels in (("before_crf", before), ("after_crf", prediction.labels)):
            save_image(out / "pictures" / kind / f"{name}.png", overlay(sample.image, labels, card.colors, 0.75))
