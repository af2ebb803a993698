"""Measuring calls, and what a program costs that has only just started."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

# Run in a process of its own: seconds to import, to load and to the first answer, and the most memory that it took
# (Linux's figure; getrusage would also count what this process had when it started the other).
_COLD = """
import json, re, sys, time
start = time.perf_counter()
import numpy as np
from pathlib import Path
from segtool.cli.models import open_model
imported = time.perf_counter()
predictor, _ = open_model(Path(sys.argv[1]), backend=sys.argv[2])
loaded = time.perf_counter()
predictor(np.load(sys.argv[3]))
first = time.perf_counter()
usage = 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps([imported - start, loaded - imported, first - loaded, usage]))
"""


class Cold(NamedTuple):
    """A new process: seconds, and bytes of resident memory at most."""

    import_seconds: float
    load_seconds: float
    first_seconds: float
    peak_bytes: int


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


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least a share (0..1) of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def cold_start(model: Path, backend: str, image: Path) -> Cold:
    """What a model costs in a process that has just started.

    Args:
        image: a .npy file, [H,W,B].
    """
    command = [sys.executable, "-c", _COLD, str(model), backend, str(image)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Cold(*json.loads(output.splitlines()[-1]))
