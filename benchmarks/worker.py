"""Measures one implementation in a process of its own, so that its memory and its threads are its own."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from implementations import IMPLEMENTATIONS


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call: the median of three, or one alone if that takes seconds."""
    times = [_once(call)]
    if times[0] < 2:
        times += [_once(call), _once(call)]
    return statistics.median(times)


def _once(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_bytes(call: Callable[[], Any]) -> int:
    """How far the process' memory grows during the call, its result included."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("implementation")
    parser.add_argument("folder", type=Path)
    parser.add_argument("inputs", type=Path)
    options = parser.parse_args()
    inputs = np.load(options.inputs)
    logits, image = inputs["logits"], inputs["image"]
    subject = IMPLEMENTATIONS[options.implementation](logits, image, options.folder)
    figures: dict[str, float] = {}
    figures["peak"] = (peak_bytes(lambda: subject.mean_field(10)) - logits.nbytes) / logits.nbytes
    for step in ("lattice", "filter"):
        if hasattr(subject, step):
            getattr(subject, step)()
            figures[step] = seconds(getattr(subject, step))
    for iterations in (10,) if "onnxruntime" in options.implementation else (1, 5, 10):
        figures[f"T={iterations}"] = seconds(lambda t=iterations: subject.mean_field(t))  # type: ignore[misc]
    if hasattr(subject, "vertices"):
        figures["vertices"] = subject.vertices
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
