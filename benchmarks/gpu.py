"""All checks that need a GPU, in one command: the tests marked `gpu`, then timings with JSON.

Of the operators first: CUDA graphs, on the device's own clock. The roofline is the least time in which the device could
move what a filter must at least read and write, at the bandwidth that a copy reaches there. Then of a whole model in
every backend (`backends.py`).
"""

import argparse
import importlib.util
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, picture, print_rows, write_results
from torch import Tensor

from segtool.crf import cuda, library
from segtool.crf.layer import DenseCRF, KernelWidths

SIZES = ((500, 375, 21), (1000, 750, 21), (2048, 1024, 19), (512, 512, 150))
WIDTHS, WEIGHTS = KernelWidths(3.0, 80.0, 13.0), (3.0, 10.0)
TESTS, MODELS = Path(__file__).parents[1] / "tests", Path(__file__).parent / "backends.py"


def device_ms(call: Callable[[], Any], runs: int) -> float:
    """Median milliseconds between two events around a call."""
    times = []
    for _ in range(runs + 3):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return round(statistics.median(times[3:]), 4)


def graph_of(call: Callable[[], Any]) -> torch.cuda.CUDAGraph:
    """The call as a CUDA graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):  # what is allocated lazily is allocated before capturing
        for _ in range(2):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def copy_bandwidth() -> float:
    """Bytes a millisecond, read and written, of a copy of 1 GiB."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / device_ms(lambda: target.copy_(source), 20)


def filter_bytes(values: Tensor, vertices: int) -> int:
    """What one filter must move: values in and out, six indices and weights for each pixel twice, the lattice."""
    n, channels, height, width = values.shape
    return 2 * values.nbytes + 2 * n * height * width * 6 * 8 + 14 * vertices * channels * 4


@torch.inference_mode()
def measure(width: int, height: int, classes: int, runs: int, bandwidth: float) -> dict[str, object]:
    """One row: milliseconds on the device."""
    image = picture(width, height).cuda()
    values = torch.rand(1, classes, height, width, device="cuda").contiguous(memory_format=torch.channels_last)
    stream = torch.cuda.current_stream().cuda_stream
    exact = cuda.build_lattice(image, WIDTHS.bilateral_alpha, WIDTHS.bilateral_beta, stream)
    vertices = exact[2].shape[2]
    capacity = 2 * vertices

    def lattice() -> Any:
        now = torch.cuda.current_stream().cuda_stream
        return cuda.build_lattice(image, WIDTHS.bilateral_alpha, WIDTHS.bilateral_beta, now, capacity)

    def message(deterministic: bool = False) -> Any:
        now = torch.cuda.current_stream().cuda_stream
        return cuda.filter_values(values, exact[:3], now, reverse=False, deterministic=deterministic)

    tables = [w * torch.eye(classes, device="cuda") for w in WEIGHTS]

    def mean_field() -> Tensor:
        now = torch.cuda.current_stream().cuda_stream
        *built, status = lattice()
        q = values.softmax(1)
        for _ in range(10):
            bilateral = cuda.filter_values(q, tuple(built), now, reverse=False, deterministic=False, status=status)
            spatial = cuda.spatial_filter(q, WIDTHS.spatial_gamma, now)
            q = cuda.mean_field_update([values, spatial, bilateral, *tables], True, now)
        return q

    logits = {"planes": values.contiguous(), "channels last": values}

    def one_call(layout: str) -> Any:
        now = torch.cuda.current_stream().cuda_stream
        return cuda.mean_field(logits[layout], image, WIDTHS, (tables[0], tables[1]), 10, now, capacity)

    def spatial_message() -> Tensor:
        return cuda.spatial_filter(values, WIDTHS.spatial_gamma, torch.cuda.current_stream().cuda_stream)

    def update() -> Tensor:
        now = torch.cuda.current_stream().cuda_stream
        return cuda.mean_field_update([values, values, values, *tables], True, now)

    crf = DenseCRF(classes, WIDTHS, WEIGHTS).cuda()
    filter_ms = device_ms(graph_of(message).replay, runs)
    floor = filter_bytes(values, vertices) / bandwidth
    return {
        "size": f"{width}x{height}x{classes}",
        "vertices": vertices,
        "lattice": device_ms(graph_of(lattice).replay, runs),
        "filter": filter_ms,
        "filter, roofline": round(floor, 4),
        "share of roofline": round(floor / filter_ms, 3),
        "spatial filter": device_ms(graph_of(spatial_message).replay, runs),
        "update": device_ms(graph_of(update).replay, runs),
        "filter, deterministic": device_ms(graph_of(lambda: message(True)).replay, runs),
        "lattice + 10 iterations, graph": device_ms(graph_of(mean_field).replay, runs),
        **{
            f"one call, {layout}, graph": device_ms(graph_of(partial(one_call, layout)).replay, runs)
            for layout in logits
        },
        # Waits once, for the number of vertices: not a graph.
        "CRF, 10 iterations, torch": device_ms(lambda: crf(values, image, 10), runs),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if not torch.cuda.is_available() or not library.has_cuda():
        sys.exit("needs a CUDA device, and a segtool built with CUDA")
    tests = subprocess.run([sys.executable, "-m", "pytest", "-m", "gpu", str(TESTS)], check=False).returncode
    bandwidth = copy_bandwidth()
    rows = [measure(*size, options.runs, bandwidth) for size in SIZES]
    print_rows(rows)
    facts = {
        "unit": "median milliseconds",
        "device": torch.cuda.get_device_name(),
        "cuda": torch.version.cuda,
        "copy_bandwidth_gb_per_s": round(bandwidth / 1e6, 1),
        "tensorrt_is_there": importlib.util.find_spec("tensorrt") is not None,
        "tests_passed": tests == 0,
    }
    print(write_results("gpu", rows, options.out, **facts))
    command = [sys.executable, str(MODELS), "--device", "cuda", "--runs", str(options.runs), "--out", str(options.out)]
    models = subprocess.run(command, check=False).returncode
    sys.exit(tests or models)


if __name__ == "__main__":
    main()
