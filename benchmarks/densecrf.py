"""segtool.densecrf against pydensecrf: the same program on an image, a volume and points, in one run.

    python -m benchmarks.densecrf [--runs 5] [--out FOLDER]

pydensecrf has one thread. Its version 1.0rc3 compiles with its .cpp files removed and Cython below 3.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydensecrf.densecrf as theirs
from numpy.typing import NDArray

import segtool.densecrf as mine
from segtool.densecrf.utils import create_pairwise_bilateral, create_pairwise_gaussian, unary_from_softmax

from .common import RESULTS, picture, print_rows, write_results

Array = NDArray[np.float32]
_ITERATIONS = 10


def probabilities(random: np.random.Generator, classes: int, count: int) -> Array:
    """Unary energies [C,N] of noisy probabilities."""
    z = random.normal(0, 1.5, (classes, count))
    e = np.exp(z - z.max(0))
    return unary_from_softmax(e / e.sum(0))


def image_case() -> Callable[[ModuleType], Array]:
    """500x375 pixels, 21 classes, both kernels of images."""
    rgb = np.ascontiguousarray(picture(500, 375)[0].permute(1, 2, 0).numpy().astype(np.uint8))
    unary = probabilities(np.random.default_rng(0), 21, 500 * 375)

    def run(library: ModuleType) -> Array:
        crf = library.DenseCRF2D(500, 375, 21)
        crf.setUnaryEnergy(unary)
        crf.addPairwiseGaussian(sxy=3, compat=3)
        crf.addPairwiseBilateral(sxy=60, srgb=13, rgbim=rgb, compat=10)
        return np.array(crf.inference(_ITERATIONS))

    return run


def volume_case() -> Callable[[ModuleType], Array]:
    """128x128x64 voxels, 4 classes, places and intensities."""
    shape, random = (64, 128, 128), np.random.default_rng(1)
    smooth = np.kron(random.uniform(0, 200, (8, 16, 16)), np.ones((8, 8, 8)))
    volume = (smooth + random.normal(0, 4, shape)).astype(np.float32)
    unary = probabilities(random, 4, volume.size)
    near = create_pairwise_gaussian((1, 3, 3), shape)
    alike = create_pairwise_bilateral((5, 15, 15), 20, volume)

    def run(library: ModuleType) -> Array:
        crf = library.DenseCRF(volume.size, 4)
        crf.setUnaryEnergy(unary)
        crf.addPairwiseEnergy(near, compat=3)
        crf.addPairwiseEnergy(alike, compat=8)
        return np.array(crf.inference(_ITERATIONS))

    return run


def points_case() -> Callable[[ModuleType], Array]:
    """200,000 points of 8 features, 10 classes."""
    random = np.random.default_rng(2)
    centers = random.normal(0, 2, (40, 8))
    features = (centers[random.integers(0, 40, 200_000)] + random.normal(0, 0.6, (200_000, 8))).T
    features = np.ascontiguousarray(features, np.float32)
    unary = probabilities(random, 10, 200_000)

    def run(library: ModuleType) -> Array:
        crf = library.DenseCRF(200_000, 10)
        crf.setUnaryEnergy(unary)
        crf.addPairwiseEnergy(features, compat=5)
        return np.array(crf.inference(_ITERATIONS))

    return run


def compared(name: str, run: Callable[[ModuleType], Array], runs: int) -> dict[str, Any]:
    """Medians of runs in turn."""
    times: dict[str, list[float]] = {"pydensecrf": [], "1 thread": [], "2 threads": []}
    labels = {}
    for _ in range(runs):
        for kind, library in (("pydensecrf", theirs), ("1 thread", mine), ("2 threads", mine)):
            set_threads(2 if kind == "2 threads" else 1)
            start = time.perf_counter()
            labels[kind] = run(library).argmax(0)
            times[kind].append(time.perf_counter() - start)
    medians, ours = {kind: statistics.median(found) for kind, found in times.items()}, ("1 thread", "2 threads")
    row: dict[str, Any] = {"case": name, **{f"{kind}, s": round(median, 3) for kind, median in medians.items()}}
    row |= {f"times as fast, {kind}": round(medians["pydensecrf"] / medians[kind], 2) for kind in ours}
    agreement = float(np.mean(labels["pydensecrf"] == labels["2 threads"]))
    return row | {"same labels, percent": round(100 * agreement, 2)}


def set_threads(count: int) -> None:
    """Of every CRF that is made from now on."""
    mine.DenseCRF.usual_threads = count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    cases = {
        "image 500x375, 21 classes": image_case(),
        "volume 128x128x64, 4 classes": volume_case(),
        "200,000 points, 8 features, 10 classes": points_case(),
    }
    rows = [compared(name, run, options.runs) for name, run in cases.items()]
    print_rows(rows)
    print(write_results("densecrf", rows, options.out, iterations=_ITERATIONS))


if __name__ == "__main__":
    main()
