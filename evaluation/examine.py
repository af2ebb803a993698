"""A closer look at chosen images: they are predicted once more, and what went wrong in each is explained."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from segtool.data import Sample, SegmentationDataset
from segtool.evaluation.blame import Blame, blame_kernels
from segtool.evaluation.counts import Counts
from segtool.evaluation.diagnosis import Diagnosis, diagnose
from segtool.evaluation.evaluate import Evaluation, count_prediction
from segtool.evaluation.table import Row, image_row
from segtool.evaluation.workers import Predictor, Workers
from segtool.prediction import Prediction


class Examined(NamedTuple):
    """One image.

    Attributes:
        image_index: in the dataset.
        row: as in images.csv.
        counts: of the whole model.
        blame: None unless the CRF made the image worse and the model can say what each kernel did (PyTorch can).
    """

    image_index: int
    row: Row
    sample: Sample
    prediction: Prediction
    counts: Counts
    diagnosis: Diagnosis
    blame: Blame | None


def failing(found: Evaluation, threshold: float) -> list[int]:
    """Indices of the images with an mIoU below the threshold, the worst first."""
    mious = np.array(found.mious)
    return [int(i) for i in np.argsort(mious, kind="stable") if mious[i] < threshold]


def worsened(found: Evaluation) -> list[int]:
    """Indices of the images whose mIoU the CRF lowered, the worst first."""
    gains = np.array(found.crf_gains)
    return [int(i) for i in np.argsort(gains, kind="stable") if gains[i] < 0]


def worth_showing(found: Evaluation, most: int, threshold: float | None = None) -> list[int]:
    """At most `most` images for a report: failures, those that the CRF changed most, and a sample of all the others."""
    everything = np.argsort(np.array(found.mious), kind="stable").tolist()
    if len(everything) <= most:
        return everything
    failures = failing(found, threshold) if threshold is not None else everything[: most // 3]
    gain = np.array(found.crf_gains)
    gains = [i for i in np.argsort(gain, kind="stable").tolist() if not np.isnan(gain[i])]
    spread = [everything[i] for i in np.linspace(0, len(everything) - 1, most).astype(int)]
    wanted = dict.fromkeys(
        failures[: most // 2] + gains[: most // 6] + gains[::-1][: most // 6] + spread + everything,
    )
    return list(wanted)[:most]


def examine(workers: Workers, indices: Sequence[int]) -> Iterator[Examined]:
    """Looks at images in the given order."""
    return workers.map(examine_image, indices)


def examine_image(predictor: Predictor, dataset: SegmentationDataset, index: int) -> Examined:
    """Predicts, counts and explains one image."""
    sample, names = dataset.load(index), [c.name for c in dataset.classes]
    # Probabilities are not looked at, and are most of what would travel between processes.
    prediction = predictor(sample.image)._replace(probabilities=None)
    counts = count_prediction(prediction, sample.labels, len(names))
    row = image_row(dataset.identifier(index), names, prediction, *counts)
    blame = None
    if row.get("crf_gain", 0.0) < 0 and hasattr(predictor, "labels_by_kernel"):
        blame = blame_kernels(sample.labels, prediction, predictor.labels_by_kernel(sample.image), len(names))
    shown, diagnosis = dataset.as_shown(sample), diagnose(sample, prediction, len(names))
    return Examined(index, row, shown, prediction, counts.final, diagnosis, blame)
