"""One model in every backend of this machine, float32 and float16: from RGB bytes to labels, and on the device alone.

    python benchmarks/backends.py [--device cpu] [--out DIR]

The network of the preset camvid-small, untrained, 19 classes, with a CRF of five iterations. The CRF share is what the
same model without it does not take. "pairs" are images a second of two threads over those of one: above 1 where copies
overlap with computation. A backend that cannot run is a row that says why.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from common import RESULTS, picture, print_rows, write_results
from deployment import untrained, without_crf
from numpy.typing import NDArray

import segtool.runtime
from segtool.cli.timing import interleaved_times
from segtool.errors import SegtoolError
from segtool.export.graph import DeployedGraph
from segtool.export.half import halve
from segtool.export.onnx_export import export_onnx
from segtool.train.checkpoint import load_segmenter

Device = Literal["cpu", "cuda"]
Image = NDArray[np.uint8]
PRECISIONS = ("float32", "float16")
SIZES, CLASSES = ("480x360", "2048x1024"), 19


def median_ms(call: Callable[[], Any], runs: int) -> float:
    """Median wall time of a call, after one that warms up."""
    return 1000 * statistics.median(interleaved_times([call], runs)[0])


class Torch:
    """The graph that is exported, in PyTorch."""

    def __init__(self, checkpoint: Path, device: Device, half: bool) -> None:
        segmenter = load_segmenter(checkpoint)[0]
        if half:
            halve(segmenter)
        self.graph, self.device = DeployedGraph(segmenter).to(device), device

    @torch.inference_mode()
    def __call__(self, image: Image) -> Any:
        return [t.cpu() for t in self.graph(torch.from_numpy(image)[None].to(self.device))]

    @torch.inference_mode()
    def on_device(self, image: torch.Tensor) -> None:
        self.graph(image)
        if self.device == "cuda":
            torch.cuda.synchronize()


def times(backend: Any, image: Image, device: Device, runs: int) -> dict[str, float]:
    """Milliseconds of one image: in host memory, and where the model runs."""
    there = torch.from_numpy(image)[None].to(device)
    return {
        "host ms": median_ms(lambda: backend(image), runs),
        "device ms": median_ms(lambda: backend.on_device(there), runs),
    }


def pairs(backend: Any, image: Image, runs: int) -> float:
    """Throughput of two threads over that of one."""

    def rate(threads: int) -> float:
        with ThreadPoolExecutor(threads) as pool:
            start = time.perf_counter()
            list(pool.map(backend, [image] * 2 * runs))
            return 2 * runs / (time.perf_counter() - start)

    return round(rate(2) / rate(1), 3)


def row(names: dict[str, Any], whole: Any, network: Any, image: Image, device: Device, runs: int) -> dict[str, Any]:
    """Figures of a backend with the model and without its CRF."""
    with_crf, alone = (times(b, image, device, runs) for b in (whole, network))
    return {
        **names,
        **{k: round(v, 2) for k, v in with_crf.items()},
        "CRF ms": round(with_crf["device ms"] - alone["device ms"], 2),
        "CRF share": round(1 - alone["device ms"] / with_crf["device ms"], 3),
        "pairs": pairs(whole, image, runs) if hasattr(whole, "concurrency") else None,
    }


def engine_of(onnx: Path, image: Image) -> Path:
    """Builds a TensorRT engine for images of one size."""
    size, out = f"1x{image.shape[0]}x{image.shape[1]}", onnx.with_name(f"{onnx.stem}-{image.shape[0]}.engine")
    shapes = ["--min", size, "--opt", size, "--max", size]
    command = [sys.executable, "-m", "segtool", "build", str(onnx), "--out", str(out), *shapes]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    if built.returncode:
        raise SegtoolError((built.stderr.strip().splitlines() or ["segtool build failed"])[-1])
    return out


def openers(folder: Path, image: Image, device: Device, precision: str) -> dict[str, Callable[[str], Any]]:
    """By backend, what opens the model "whole" or its "network"."""

    def pytorch(part: str) -> Any:
        return Torch(folder / f"{part}.safetensors", device, precision == "float16")

    def onnx_runtime(part: str) -> Any:
        return segtool.runtime.load(folder / precision / f"{part}.onnx", backend=device)

    def tensorrt(part: str) -> Any:
        return segtool.runtime.load(engine_of(folder / precision / f"{part}.onnx", image), backend="tensorrt")

    found: dict[str, Callable[[str], Any]] = {"PyTorch": pytorch, "ONNX Runtime": onnx_runtime}
    return found | ({"TensorRT": tensorrt} if device == "cuda" else {})


def export(folder: Path) -> None:
    """The checkpoints whole and network, and their exported files."""
    untrained(folder, CLASSES).rename(folder / "whole.safetensors")
    without_crf(folder / "whole.safetensors", folder)
    for precision in PRECISIONS:
        (folder / precision).mkdir()
        for part in ("whole", "network"):
            out = folder / precision / f"{part}.onnx"
            export_onnx(folder / f"{part}.safetensors", out, fp16=precision == "float16")


def measure(folder: Path, size: str, device: Device, runs: int) -> list[dict[str, Any]]:
    """The rows of one image size."""
    image = picture(*map(int, size.split("x")))[0].permute(1, 2, 0).byte().numpy().copy()
    rows = []
    for precision in PRECISIONS:
        for backend, opened in openers(folder, image, device, precision).items():
            names = {"size": size, "precision": precision, "backend": backend}
            try:
                rows.append(row(names, opened("whole"), opened("network"), image, device, runs))
            except (SegtoolError, RuntimeError) as error:  # the others are still worth having
                rows.append({**names, "error": str(error).splitlines()[0]})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WxH")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        export(Path(name))
        rows = [r for size in options.sizes for r in measure(Path(name), size, options.device, options.runs)]
    columns = {name: None for r in rows for name in r}
    rows = [columns | r for r in rows]
    print_rows(rows)
    print(write_results("backends", rows, options.out, device=options.device))


if __name__ == "__main__":
    main()
