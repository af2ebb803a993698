"""What evaluation costs beyond inference: 1,000 images of 480x360 with 150 classes, before and after a CRF.

The model is a stub that answers at once: before the CRF the truth at an eighth of its resolution, as a coarse network
would give it, after the CRF with shifted boundaries, both with a wrong object. So all that is measured is loading
(from memory), counting, the table's files and the sums.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, print_rows, write_results
from numpy.typing import NDArray

from segtool.card import ClassInfo
from segtool.data import Sample, SegmentationDataset
from segtool.evaluation.evaluate import evaluate_with
from segtool.evaluation.table import TableFiles
from segtool.evaluation.workers import Workers
from segtool.prediction import Prediction

_SCENES = 20  # different truths and predictions, used in turn


def scene(seed: int, width: int, height: int, classes: int) -> NDArray[np.uint8]:
    """A map of about 25 regions with curved boundaries: the nearest of random points, as a Voronoi diagram."""
    random = np.random.default_rng(seed)
    points, labels = random.random((25, 2)) * (height, width), random.integers(0, classes, 25)
    y, x = np.mgrid[:height, :width]
    distance = [(y - p[0]) ** 2 + (x - p[1]) ** 2 + 300 * np.sin(x / 9 + p[1]) for p in points]
    return labels[np.argmin(distance, 0)].astype(np.uint8)


class Scenes(SegmentationDataset):
    """Scenes in memory; 2 % of the pixels are void."""

    name, split = "scenes", "val"

    def __init__(self, images: int, size: tuple[int, int], classes: int) -> None:
        self.images = images
        self.classes = [ClassInfo(id=i, name=f"class {i}", color=(i, i, i)) for i in range(classes)]
        self.truths = [scene(i, *size, classes) for i in range(_SCENES)]
        for truth in self.truths:
            truth[: truth.shape[0] // 50] = 255
        self.blank = np.zeros((*self.truths[0].shape, 3), np.uint8)

    def __len__(self) -> int:
        return self.images

    def identifier(self, index: int) -> str:
        return f"{index:06d}"

    def load(self, index: int) -> Sample:
        self.blank[0, 0, 0] = index % _SCENES
        return Sample(self.blank, self.truths[index % _SCENES])


def predictions(scenes: Scenes) -> list[Prediction]:
    """What the stub answers for each scene."""
    random = np.random.default_rng(0)
    found = []
    for truth in scenes.truths:
        known = np.where(truth == 255, 0, truth).astype(np.uint8)
        final, coarse = np.roll(known, (2, 3), (0, 1)), known[4::8, 4::8].repeat(8, 0).repeat(8, 1)
        for labels in (final, coarse):
            labels[100:160, 200:280] = 7
        confidence, unsure = (np.sqrt(random.random(truth.shape, np.float32)) for _ in range(2))
        found.append(Prediction(final, confidence, coarse, unary_confidence=unsure))
    return found


def measure(images: int, size: tuple[int, int], classes: int) -> dict[str, Any]:
    """One row."""
    scenes = Scenes(images, size, classes)
    answers = predictions(scenes)
    times = [time.perf_counter()]
    with (
        Workers(lambda: (lambda image: answers[image[0, 0, 0]], scenes)) as workers,
        tempfile.TemporaryDirectory() as folder,
        TableFiles(Path(folder)) as table,
    ):
        evaluate_with(workers, table, lambda done, total: times.append(time.perf_counter()))
    milliseconds = 1000 * np.diff(times)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shape = f"{size[0]}x{size[1]}"
    return {
        "images": images,
        "size": shape,
        "classes": classes,
        "ms an image, median": round(float(np.median(milliseconds)), 2),
        "mean": round(float(milliseconds.mean()), 2),
        "peak MB of the process": round(peak),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000, 4000])
    parser.add_argument("--size", type=int, nargs=2, default=(480, 360), metavar=("W", "H"))
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    # Ascending, so that each row's peak is its own.
    rows = [measure(images, tuple(options.size), options.classes) for images in sorted(options.images)]
    print_rows(rows)
    print(write_results("evaluation", rows, options.out, note="one process; inference costs nothing here"))


if __name__ == "__main__":
    main()
