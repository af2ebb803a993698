"""A machine that does other work too: time with one busy process on each core, against time without."""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, picture, print_rows, write_results

CLASSES, HEIGHT, WIDTH = 21, 375, 500
TRAINING = ["unary.epochs=1", "unary.validate_every=1", "crf.epochs=1", "joint.epochs=1", "report.write=false"]
TRAINING += ["data.validation_images=8"]


def _logits() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = 2 * torch.randn(1, CLASSES, HEIGHT // 20 + 1, WIDTH // 20 + 1, generator=generator)
    return torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH))


def mean_field(folder: Path) -> Callable[[], Any]:
    """The library's own, ten iterations."""
    from segtool.crf import native

    logits, image, table = _logits().numpy(), picture(WIDTH, HEIGHT).numpy(), 3 * np.eye(CLASSES, dtype=np.float32)
    return lambda: native.mean_field(logits, image, (3.0, 80.0, 13.0), (table, table))


def training_step(folder: Path) -> Callable[[], Any]:
    """Forward and backward through `DenseCRF`, five iterations."""
    from segtool.crf.layer import DenseCRF, KernelWidths

    crf = DenseCRF(CLASSES, KernelWidths(3.0, 80.0, 13.0), (3.0, 3.0))
    logits, image = _logits().requires_grad_(), picture(WIDTH, HEIGHT)
    return lambda: crf(logits, image, 5).square().sum().backward()


def exported_model(folder: Path) -> Callable[[], Any]:
    """An image through the exported file of a quickstart model."""
    import segtool.runtime

    model = segtool.runtime.load(folder / "model.onnx")
    image = picture(WIDTH, HEIGHT)[0].permute(1, 2, 0).to(torch.uint8).numpy()
    return lambda: model(image)


def train_command(folder: Path) -> Callable[[], Any]:
    """`segtool train`: three stages on the built-in pictures, from start to end."""

    def run() -> None:
        with tempfile.TemporaryDirectory() as out:
            settings = [part for setting in TRAINING for part in ("--set", setting)]
            command = ["train", "--preset", "quickstart", "--data", "synthetic", "--out", f"{out}/run", *settings]
            subprocess.run([sys.executable, "-m", "segtool", *command], check=True, stdout=subprocess.DEVNULL)

    return run


SUBJECTS = {"mean field": mean_field, "training step": training_step, "exported model": exported_model}
SUBJECTS |= {"segtool train": train_command}


def measure(name: str, folder: Path) -> float:
    """Seconds of a call: the median of some, after one that is not counted; of long ones of one."""
    call = SUBJECTS[name](folder)
    if name == "segtool train":
        return _seconds(call)
    call()
    return statistics.median(_seconds(call) for _ in range(9))


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_own_process(name: str, folder: Path) -> float:
    """`measure` in a process that starts as the command line does."""
    command = [sys.executable, __file__, "--subject", name, "--folder", str(folder)]
    env = {"OMP_WAIT_POLICY": "passive"} | os.environ
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.split()[-1])


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """One process on each core that does nothing but run."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def export_model(folder: Path) -> None:
    """The model that `exported_model` runs."""
    segtool = [sys.executable, "-m", "segtool"]
    settings = [part for setting in TRAINING for part in ("--set", setting)]
    train = ["train", "--preset", "quickstart", "--data", "synthetic", "--out", f"{folder}/run", *settings]
    export = ["export", f"{folder}/run", "--out", f"{folder}/model.onnx"]
    for command in (train, export):
        subprocess.run([*segtool, *command], check=True, stdout=subprocess.DEVNULL)


def compare(turns: int) -> list[dict[str, Any]]:
    """A row for each subject; quiet and under load take turns."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in SUBJECTS}
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        export_model(folder)
        for _ in range(turns):
            for name, (quiet, loaded) in times.items():
                quiet.append(in_own_process(name, folder))
                with busy_cores():
                    loaded.append(in_own_process(name, folder))
                print(f"{name}: {quiet[-1]:.3f} s, {loaded[-1]:.3f} s under load", file=sys.stderr, flush=True)
    rows = []
    for name, pair in times.items():
        quiet, loaded = map(statistics.median, pair)
        rows.append({"subject": name, "quiet": round(quiet, 4), "loaded": round(loaded, 4)})
        rows[-1]["ratio"] = round(loaded / quiet, 2)
    return rows


def main() -> None:
    """Prints a table and writes load.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--subject", choices=SUBJECTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subject:
        print(measure(options.subject, options.folder))
        return
    rows = compare(options.turns)
    print_rows(rows)
    print(write_results("load", rows, options.out, busy_processes=len(os.sched_getaffinity(0))))


if __name__ == "__main__":
    main()
