"""A deployed model against the usual way: the network in ONNX Runtime and pydensecrf in Python after it.

    python benchmarks/deployment.py [--run RUN] [--out DIR]

480x360, 11 classes, T = 5. Without RUN, the network of the preset camvid-small, untrained.
pydensecrf must be importable.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, cpu_name, picture, print_rows, write_results
from implementations import ALPHA, BETA, GAMMA, WEIGHTS

import segtool.runtime
from segtool.card import ClassInfo, TrainedOn
from segtool.cli.timing import cold_start, interleaved_times
from segtool.crf.layer import DenseCRF, KernelWidths
from segtool.export.onnx_export import export_onnx
from segtool.input_contract import InputContract
from segtool.train.checkpoint import load_segmenter, make_card, save_checkpoint
from segtool.train.config.presets import load_config
from segtool.train.networks import Segmenter
from segtool.train.networks.network import build_network

WIDTH, HEIGHT, CLASSES, ITERATIONS = 480, 360, 11, 5


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--run", type=Path)
    arguments.add_argument("--runs", type=int, default=30)
    arguments.add_argument("--out", type=Path, default=RESULTS)
    options = arguments.parse_args()
    image = picture(WIDTH, HEIGHT)[0].permute(1, 2, 0).byte().numpy().copy()
    with tempfile.TemporaryDirectory() as folder:
        rows, cold = measure(options.run or untrained(Path(folder)), Path(folder), image, options.runs)
    print_rows(rows)
    print(f"\n{cpu_name()}; cold start of the exported model: {cold}")
    print(write_results("deployment", rows, options.out, cold_start=cold))


def untrained(folder: Path, class_count: int = CLASSES) -> Path:
    """A checkpoint with weights as they are initialised."""
    config = load_config("camvid-small", [])
    classes = [ClassInfo(id=i, name=str(i), color=(10 * i, 0, 0)) for i in range(class_count)]
    crf = DenseCRF(class_count, KernelWidths(GAMMA, ALPHA, BETA), WEIGHTS, iterations=ITERATIONS)
    segmenter = Segmenter(build_network(config.model, class_count).eval(), InputContract(), crf)
    about = TrainedOn(dataset="none", split="train", image_count=0, fingerprint="")
    save_checkpoint(folder / "m.safetensors", segmenter, make_card(config, segmenter, classes, 255, about))
    return folder / "m.safetensors"


def without_crf(run: Path, folder: Path) -> Path:
    """A checkpoint of the network alone."""
    segmenter, card = load_segmenter(run)
    segmenter.crf = None
    save_checkpoint(folder / "network.safetensors", segmenter, card.model_copy(update={"crf": None}))
    return folder / "network.safetensors"


def measure(run: Path, folder: Path, image: Any, runs: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Milliseconds, medians of runs in turn."""
    with_crf, alone = folder / "crf.onnx", folder / "network.onnx"
    export_onnx(run, with_crf, iterations=ITERATIONS)
    export_onnx(without_crf(run, folder), alone, probabilities=True)
    model, network = segtool.runtime.load(with_crf), segtool.runtime.load(alone)
    probabilities = network(image).probabilities
    assert probabilities is not None
    times = interleaved_times(
        [lambda: model(image), lambda: network(image), lambda: pydensecrf(probabilities, image)], runs
    )
    whole, network_only, dense = (1000 * statistics.median(t) for t in times)
    crf = whole - network_only
    rows = [
        {"part": "network", "segtool ms": round(network_only, 1), "with pydensecrf ms": round(network_only, 1)},
        {"part": "CRF, T = 5", "segtool ms": round(crf, 1), "with pydensecrf ms": round(dense, 1)},
        {"part": "both", "segtool ms": round(whole, 1), "with pydensecrf ms": round(network_only + dense, 1)},
    ]
    for row in rows:
        row["times faster"] = round(row["with pydensecrf ms"] / row["segtool ms"], 2)
    np.save(folder / "image.npy", image)
    return rows, cold_start(with_crf, "cpu", folder / "image.npy")._asdict()


def pydensecrf(probabilities: Any, image: Any) -> Any:
    """As its users write it."""
    from pydensecrf import densecrf
    from pydensecrf.utils import unary_from_softmax

    crf = densecrf.DenseCRF2D(image.shape[1], image.shape[0], len(probabilities))
    crf.setUnaryEnergy(unary_from_softmax(probabilities))
    crf.addPairwiseGaussian(sxy=GAMMA, compat=WEIGHTS[0])
    crf.addPairwiseBilateral(sxy=ALPHA, srgb=BETA, rgbim=image, compat=WEIGHTS[1])
    return np.argmax(crf.inference(ITERATIONS), axis=0)


if __name__ == "__main__":
    main()
