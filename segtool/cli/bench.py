"""segtool bench"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segtool.cli.options import model_argument

if TYPE_CHECKING:
    from segtool.images import RGB


@click.command("bench")
@model_argument
@click.option("--against", type=click.Path(path_type=Path), help="A second model, timed in turn with the first.")
@click.option("--image", type=click.Path(path_type=Path), help="Image to run; noise of --size when not given.")
@click.option("--size", default="480x360", show_default=True, metavar="WxH")
@click.option("--runs", default=10, show_default=True, type=click.IntRange(1))
@click.option("--threads", type=click.IntRange(1), help="All cores when not given.")
def command(model: Path, against: Path | None, image: Path | None, size: str, runs: int, threads: int | None) -> None:
    """Time MODEL on one image, end to end: from RGB bytes to labels."""
    from rich.table import Table

    from segtool.cli.models import open_model
    from segtool.cli.tables import console

    pixels = _image(image, size)
    models = [m for m in (model, against) if m is not None]
    predictors = [open_model(m, threads=threads)[0] for m in models]
    times = interleaved_times([partial(p, pixels) for p in predictors], runs)
    table = Table(title=f"milliseconds, {pixels.shape[1]}x{pixels.shape[0]}, {runs} runs")
    for title in ("model", "median", "min", "max", "times the first"):
        table.add_column(title, justify="left" if title == "model" else "right")
    first = _median(times[0])
    for name, values in zip(models, times, strict=True):
        cells = (f"{1000 * v:.1f}" for v in (_median(values), min(values), max(values)))
        table.add_row(str(name), *cells, f"{_median(values) / first:.2f}")
    console().print(table)


def interleaved_times(calls: Sequence[Callable[[], object]], runs: int) -> list[list[float]]:
    """Seconds of each run of each call, taken in turn after one warm-up, so that drift hits all alike."""
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(runs):
        for values, call in zip(times, calls, strict=True):
            start = time.perf_counter()
            call()
            values.append(time.perf_counter() - start)
    return times


def _median(values: list[float]) -> float:
    from statistics import median

    return median(values)


def _image(path: Path | None, size: str) -> "RGB":
    import numpy as np

    from segtool.errors import SegtoolError
    from segtool.images import read_image

    if path is not None:
        return read_image(path)
    width, separator, height = size.partition("x")
    if not (separator and width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise SegtoolError("--size must be WIDTHxHEIGHT", where=size)
    # Smooth noise: plain noise would give every pixel lattice vertices of its own, as no photo does.
    coarse = np.random.default_rng(0).integers(0, 256, (int(height) // 16 + 2, int(width) // 16 + 2, 3), np.uint8)
    return coarse.repeat(16, 0).repeat(16, 1)[: int(height), : int(width)].copy()
