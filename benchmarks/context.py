"""What the contextual CRF costs in an exported model: time beside that of the dense CRF, and memory with many classes.

    python benchmarks/context.py [--out DIR]

The network of the preset camvid-small, untrained; 40 edges at each place (20 offsets), T = 3; the dense CRF T = 10.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from common import RESULTS, cpu_name, picture, print_rows, write_results
from implementations import ALPHA, BETA, GAMMA, WEIGHTS

import segtool.runtime
from segtool.card import ClassInfo, ContextCard, TrainedOn
from segtool.cli.timing import cold_start, interleaved_times
from segtool.crf.contextual.coarse import ring_offsets
from segtool.crf.contextual.layer import ContextualCRF
from segtool.crf.layer import DenseCRF, KernelWidths
from segtool.export.onnx_export import export_onnx
from segtool.input_contract import InputContract
from segtool.train.checkpoint import make_card, save_checkpoint
from segtool.train.config.presets import load_config
from segtool.train.networks import Segmenter
from segtool.train.networks.features import feature_size, last_layer
from segtool.train.networks.network import build_network

WIDTH, HEIGHT = 500, 375
MODELS = {"network": "", "with context": "context", "with the dense CRF": "dense", "with both": "context dense"}


def exported(folder: Path, classes: int, parts: str) -> Path:
    """An ONNX file of the untrained network with some of the CRFs."""
    torch.manual_seed(0)
    config = load_config("camvid-small", [])
    network = build_network(config.model, classes).eval()
    layer = last_layer(network, classes)
    assert layer is not None
    size = feature_size(network, layer, 32)
    assert size is not None
    given = config.context
    card = ContextCard(
        stride=given.stride, features=size.channels, feature_stride=size.stride, offsets=ring_offsets(given.radii),
        hidden=given.hidden, tables=given.tables, iterations=given.iterations,
    )  # fmt: skip
    crf = DenseCRF(classes, KernelWidths(GAMMA, ALPHA, BETA), WEIGHTS, iterations=10) if "dense" in parts else None
    context = ContextualCRF(classes, card) if "context" in parts else None
    segmenter = Segmenter(network, InputContract(), crf, context)
    names = [ClassInfo(id=i, name=str(i), color=(i, 0, 0)) for i in range(classes)]
    about = TrainedOn(dataset="none", split="train", image_count=0, fingerprint="")
    run = folder / f"{classes} {parts}.safetensors"
    save_checkpoint(run, segmenter, make_card(config, segmenter, names, 255, about))
    export_onnx(run, run.with_suffix(".onnx"))
    return run.with_suffix(".onnx")


def times(folder: Path, image: Any, classes: int, runs: int) -> list[dict[str, Any]]:
    """Milliseconds of each model, and what each CRF adds to the network."""
    models = [segtool.runtime.load(exported(folder, classes, parts)) for parts in MODELS.values()]
    found = interleaved_times([lambda model=model: model(image) for model in models], runs)  # type: ignore[misc]
    milliseconds = [1000 * median(each) for each in found]
    return [
        {
            "model": name,
            "classes": classes,
            "ms": round(ms, 1),
            "more than the network, ms": round(ms - milliseconds[0], 1),
        }
        for name, ms in zip(MODELS, milliseconds, strict=True)
    ]


def memory(folder: Path, image: Any, classes: int) -> list[dict[str, Any]]:
    """Resident memory at most of a new process that answers once."""
    np.save(folder / "image.npy", image)
    rows = []
    for name in ("network", "with context"):
        peak = cold_start(exported(folder, classes, MODELS[name]), "cpu", folder / "image.npy").peak_bytes
        rows.append({"model": name, "classes": classes, "peak MiB": round(peak / 2**20)})
    for row in rows:
        row["times the network's"] = round(row["peak MiB"] / rows[0]["peak MiB"], 2)
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--classes", type=int, default=21)
    arguments.add_argument("--many", type=int, default=150, help="classes for which memory is measured")
    arguments.add_argument("--runs", type=int, default=20)
    arguments.add_argument("--out", type=Path, default=RESULTS)
    options = arguments.parse_args()
    image = picture(WIDTH, HEIGHT)[0].permute(1, 2, 0).byte().numpy().copy()
    with tempfile.TemporaryDirectory() as folder:
        rows = times(Path(folder), image, options.classes, options.runs)
        many = memory(Path(folder), image, options.many)
    print_rows(rows)
    print()
    print_rows(many)
    print(f"\n{WIDTH}x{HEIGHT}, {cpu_name()}")
    print(write_results("context", rows, options.out, size=f"{WIDTH}x{HEIGHT}", memory=many))


if __name__ == "__main__":
    main()
