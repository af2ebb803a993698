"""Where the time of a run goes: the image's preparation, network, contextual CRF, dense CRF, the rest."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from segtool.errors import SegtoolError
from segtool.runtime.onnx_runtime import Device, OnnxRuntimeBackend

STAGES = ("input", "network", "context", "crf", "output")


def stage_shares(
    path: Path, images: NDArray[Any], *, native: bool = True, device: Device = "cpu", runs: int = 5
) -> dict[str, float]:
    """Shares of the time that ONNX Runtime spends in nodes, by the parts that their names begin with; those of the
    parts that there are add up to 1.

    Args:
        path: the `.onnx` file.
        images: [N,H,W,B].
        runs: profiled, after one that is not counted.

    Raises:
        SegtoolError: nothing was profiled.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        backend = OnnxRuntimeBackend(path, native=native, device=device, options=options)
        for _ in range(runs + 1):
            backend.run(images)
        events = json.loads(Path(backend.session.end_profiling()).read_text(encoding="utf-8"))
    spent = _by_stage([e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")], runs)
    total = sum(spent.values())
    if not total:
        raise SegtoolError("ONNX Runtime profiled no nodes", where=path)
    return {stage: spent[stage] / total for stage in STAGES if spent[stage]}


def _by_stage(events: list[dict], runs: int) -> Counter[str]:
    """Microseconds of the last runs by stage; a node that several runs are of occurs once in each."""
    spent: Counter[str] = Counter()
    warm = len(events) // (runs + 1)
    for event in sorted(events, key=lambda e: e["ts"])[warm:]:
        # Where the operators' definitions are put in place of nodes, something stands before the names in them.
        stage = "crf" if "crf/" in event["name"] else event["name"].partition("/")[0]
        # The segmenter's own nodes normalise and pad. What ONNX Runtime adds without a name reorders for convolutions.
        spent[stage if stage in STAGES else "input" if stage == "segmenter" else "network"] += event["dur"]
    return spent
