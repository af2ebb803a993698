"""segtool bench"""

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segtool.cli.options import backend_option, check_suffix, echo, model_argument, parse_size

if TYPE_CHECKING:
    from segtool.readers import Image
    from segtool.runtime import BackendName

_USUAL = (360, 480)  # height, width
_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@click.command("bench")
@model_argument
@click.option("--against", type=click.Path(path_type=Path), multiple=True, help="More models, timed in turn with it.")
@click.option("--image", type=click.Path(path_type=Path), help="Image to run.  [default: smooth noise of --size]")
@click.option("--size", metavar="HxW", help="Image size.  [default: 360x480, or the nearest that MODEL takes]")
@click.option("--runs", default=20, show_default=True, type=click.IntRange(1))
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1), help="Images per run.")
@click.option("--threads", type=click.IntRange(1), help="Threads of the runtime.  [default: all cores]")
@click.option("--cold", is_flag=True, help="Also measure a process that has just started, and its memory.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON to write, with a plot beside it.")
@backend_option
def command(
    model: Path,
    against: tuple[Path, ...],
    image: Path | None,
    size: str | None,
    runs: int,
    batch: int,
    threads: int | None,
    cold: bool,
    out: Path | None,
    backend: "BackendName",
) -> None:
    """Time MODEL on one image, end to end: from the image as it was read to labels.

    Percentiles of the latency, images a second, and for an .onnx file where the time goes: preparing the image,
    network, CRF, the rest. Models are run in turn, so that what else the machine does hits all alike.
    """
    from segtool.bands import from_picture
    from segtool.cli.models import open_model
    from segtool.cli.timing import interleaved_times
    from segtool.drawing import smooth_noise
    from segtool.readers import reader_of

    if out is not None:
        check_suffix(out, ".json")
    models = [model, *against]
    opened = [open_model(m, backend=backend, threads=threads) for m in models]
    predictors, contract = [predictor for predictor, _ in opened], opened[0][1].input
    if image is not None:
        pixels = reader_of(contract).open(image).values
    else:
        pixels = from_picture(smooth_noise(*_size(size, predictors[0], batch)), contract)
    times = interleaved_times([_call(p, pixels, batch) for p in predictors], runs)
    rows = [_row(*pair, batch) for pair in zip(models, times, strict=True)]
    for row, path, predictor in zip(rows, models, predictors, strict=True):
        row["backend"] = predictor.backend.name if hasattr(predictor, "backend") else "PyTorch"
        row["stages"] = _stages(path, predictor, pixels, batch)
        if cold:
            row["cold"] = _cold(path, backend, pixels)
    _print(rows, f"milliseconds, {batch}x{pixels.shape[0]}x{pixels.shape[1]}, {runs} runs")
    if out is not None:
        _write(out, rows, {"width": pixels.shape[1], "height": pixels.shape[0], "batch": batch, "runs": runs})


def _call(predictor: Any, pixels: "Image", batch: int) -> Any:
    if batch == 1:
        return partial(predictor, pixels)
    from segtool.errors import SegtoolError

    if not hasattr(predictor, "batch"):
        raise SegtoolError("PyTorch takes one image at a time here", where="--batch", mend="bench the exported file")
    return partial(predictor.batch, [pixels] * batch)


def _row(model: Path, times: list[float], batch: int) -> dict[str, Any]:
    from segtool.cli.timing import percentile

    row: dict[str, Any] = {"model": str(model)}
    row |= {name: 1000 * percentile(times, share) for name, share in _PERCENTILES.items()}
    return row | {"images_per_second": batch * len(times) / sum(times), "milliseconds": [1000 * t for t in times]}


def _stages(model: Path, predictor: Any, pixels: "Image", batch: int) -> dict[str, float]:
    """Shares of the stages; empty where nobody can tell."""
    if model.suffix != ".onnx":
        return {}
    import numpy as np

    from segtool.runtime.onnx_runtime import Device
    from segtool.runtime.stages import stage_shares

    device: Device = "cuda" if "CUDA" in predictor.backend.name else "cpu"
    return stage_shares(model, np.stack([pixels] * batch), native=predictor.backend.native, device=device)


def _cold(model: Path, backend: str, pixels: "Image") -> dict[str, float]:
    import numpy as np

    from segtool.cli.timing import cold_start

    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "image.npy", pixels)
        return cold_start(model, backend, Path(folder) / "image.npy")._asdict()


def _print(rows: list[dict[str, Any]], title: str) -> None:
    from rich.table import Table

    from segtool.cli.tables import console

    table = Table(title=title)
    for name in ("model", "backend", *_PERCENTILES, "images/s", "times the first", "where the time goes"):
        table.add_column(name, justify="left" if name in ("model", "backend", "where the time goes") else "right")
    for row in rows:
        numbers = [f"{row[name]:.1f}" for name in (*_PERCENTILES, "images_per_second")]
        stages = ", ".join(f"{name} {100 * share:.0f} %" for name, share in row["stages"].items())
        table.add_row(Path(row["model"]).name, row["backend"], *numbers, f"{row['p50'] / rows[0]['p50']:.2f}", stages)
    console().print(table)
    for row in (row for row in rows if "cold" in row):
        cold = row["cold"]
        seconds = ", ".join(f"{name} {cold[f'{name}_seconds']:.2f} s" for name in ("import", "load", "first"))
        echo(f"{Path(row['model']).name}, cold: {seconds}, at most {cold['peak_bytes'] / 2**20:.0f} MiB")


def _write(out: Path, rows: list[dict[str, Any]], about: dict[str, int]) -> None:
    import os
    import platform
    from datetime import UTC, datetime
    from importlib import metadata
    from importlib.util import find_spec

    from segtool.files import atomic_path, write_json

    told = {"segtool", "numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt", "torch"}
    versions = {name: metadata.version(name) for name in sorted(told & {d.name for d in metadata.distributions()})}
    machine = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "versions": versions}
    write_json(out, {"date": f"{datetime.now(UTC):%Y-%m-%d}", **machine, **about, "rows": rows})
    echo(f"written: {out}")
    if find_spec("matplotlib") is None:
        echo("no plot: matplotlib is not installed (pip install matplotlib)")
        return
    with atomic_path(out.with_suffix(".png")) as temporary:
        _plot(rows, temporary)
    echo(f"written: {out.with_suffix('.png')}")


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    """One bar for each model, of its stages where they are known."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    colors = {
        "input": "#9aa0a6",
        "network": "#4c78a8",
        "context": "#54a24b",
        "crf": "#f58518",
        "output": "#b8bec6",
        "all": "#72b7b2",
    }
    for place, row in enumerate(reversed(rows)):
        left = 0.0
        for name, share in (row["stages"] or {"all": 1.0}).items():
            axes.barh(place, share * row["p50"], left=left, color=colors[name], label=name)
            left += share * row["p50"]
    axes.set_yticks(range(len(rows)), [Path(row["model"]).name for row in reversed(rows)])
    axes.set(xlabel="milliseconds (p50)")
    handles, labels = axes.get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    figure.legend(known.values(), known, loc="outside upper center", ncols=len(known), frameon=False)
    figure.savefig(path, dpi=120)


def _size(text: str | None, predictor: Any, batch: int) -> tuple[int, int]:
    if text is not None:
        return parse_size(text, "--size")
    if not hasattr(predictor, "backend"):  # PyTorch
        return _USUAL
    _, height, width = predictor.backend.nearest((batch, *_USUAL))
    return height, width
