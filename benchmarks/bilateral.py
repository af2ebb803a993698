"""Dense CRF inference on the CPU: lattice, filter and mean field of each implementation, side by side.

Implementations take turns, each turn in a process of its own; every figure is the median of the turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from common import RESULTS, picture, print_rows, write_results
from implementations import IMPLEMENTATIONS, export_crf
from numpy.typing import NDArray
from PIL import Image

mpl.use("Agg")
import matplotlib.pyplot as plt

SIZES = ("500x375x21", "1000x750x21", "2048x1024x19", "512x512x150")
# In minutes rather than seconds beyond this many values.
SLOW, SLOW_FROM = ("plain torch", "onnxruntime, bodies"), 8_000_000
WORKER = str(Path(__file__).parent / "worker.py")
COLUMNS = ("lattice", "filter", "T=1", "T=5", "T=10")


def inputs(size: str, photo: Path | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits in blocks, as a coarse network's, and an image of that size."""
    width, height, classes = map(int, size.split("x"))
    random = np.random.default_rng(0)
    coarse = 2 * random.normal(size=(classes, height // 20 + 1, width // 20 + 1))
    logits = coarse.repeat(20, 1).repeat(20, 2)[:, :height, :width]
    if photo is None:
        image = picture(width, height).numpy()
    else:
        image = np.asarray(Image.open(photo).convert("RGB").resize((width, height))).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(logits[None], np.float32), np.ascontiguousarray(image, np.float32)


def measure(size: str, threads: int, names: list[str], runs: int, folder: Path) -> list[dict[str, Any]]:
    """One row for each implementation."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(runs):
        for name in names:
            command = [
                sys.executable,
                str(Path(__file__).parent / "worker.py"),
                name,
                str(folder),
                str(folder / "in.npz"),
            ]
            result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            if result.returncode:
                sys.exit(f"{name}, {size}: {result.stderr.strip().splitlines()[-1]}")
            found[name].append(json.loads(result.stdout.splitlines()[-1]))
            print(
                f"{size}, {threads} threads, {name}: T=10 {found[name][-1]['T=10']:.2f} s", file=sys.stderr, flush=True
            )
    rows = []
    for name, turns in found.items():
        middle = {k: statistics.median(t[k] for t in turns) for k in turns[0]}
        times = {c: round(1000 * middle[c], 1) if c in middle else None for c in COLUMNS}
        rows.append(
            {"size": size, "threads": threads, "implementation": name, **times, "peak": round(middle["peak"], 2)}
        )
    return rows


def available(size: str, threads: int, wanted: list[str]) -> list[str]:
    """Those that can run here and are worth it."""
    width, height, classes = map(int, size.split("x"))
    names = [n for n in wanted if n not in SLOW or width * height * classes < SLOW_FROM]
    if threads > 1:
        names = [n for n in names if n != "pydensecrf"]
    return names


def add_ratios(rows: list[dict[str, Any]]) -> None:
    """How many times faster than pydensecrf (which has one thread) each is, where that was measured."""
    reference = {r["size"]: r["T=10"] for r in rows if r["implementation"] == "pydensecrf"}
    for row in rows:
        row["vs pydensecrf"] = round(reference[row["size"]] / row["T=10"], 2) if row["size"] in reference else None


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Bars of the time of lattice and ten iterations."""
    sizes = list(dict.fromkeys(r["size"] for r in rows))
    figure, axes = plt.subplots(1, len(sizes), figsize=(4.6 * len(sizes), 3.4), squeeze=False)
    colors = dict(zip(IMPLEMENTATIONS, plt.get_cmap("tab10").colors, strict=False))
    for axis, size in zip(axes[0], sizes, strict=True):
        here = [r for r in rows if r["size"] == size][::-1]
        labels = [f"{r['implementation']}, {r['threads']}t" for r in here]
        axis.barh(labels, [r["T=10"] / 1000 for r in here], color=[colors[r["implementation"]] for r in here])
        axis.set(title=size, xlabel="seconds, lattice + 10 iterations")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WxHxC")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--image", type=Path, help="a photo, instead of a made picture")
    parser.add_argument("--implementations", nargs="+", default=list(IMPLEMENTATIONS), choices=list(IMPLEMENTATIONS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    try:
        import pydensecrf.densecrf  # noqa: F401
    except ImportError:
        print("pydensecrf cannot be imported: not compared")
        options.implementations = [n for n in options.implementations if n != "pydensecrf"]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in options.sizes:
            logits, image = inputs(size, options.image)
            np.savez(folder / "in.npz", logits=logits, image=image)
            if any("onnxruntime" in n for n in options.implementations):
                export_crf(logits.shape[1], folder / f"crf_{logits.shape[1]}.onnx")
            for threads in options.threads:
                names = available(size, threads, options.implementations)
                rows += measure(size, threads, names, options.runs, folder)
    add_ratios(rows)
    print_rows(rows)
    unit = "milliseconds; peak: memory beyond inputs and output, in sizes of the logits"
    source = "a photo" if options.image else "a made picture"
    print(write_results("bilateral", rows, options.out, unit=unit, image=source, turns=options.runs))
    plot(rows, options.out / "bilateral.png")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
