"""How far two predictors are apart, over many images."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from segtool.card import ParityRecord
from segtool.errors import SegtoolError
from segtool.evaluation.boundaries import Truth
from segtool.evaluation.counts import TOLERANCES, Counts, count_image
from segtool.evaluation.scores import set_scores
from segtool.prediction import Prediction

Image = NDArray[Any]  # [H,W,B]


class Limits(NamedTuple):
    """Least share of equal labels; how far the winning probability of a pixel, and the mIoU, may move."""

    agreement: float
    dp: float
    miou: float


class Case(NamedTuple):
    """An image [H,W,B] to compare on, and its truth uint8 [H,W] where that is known."""

    image: Image
    truth: NDArray[np.uint8] | None = None


class Comparison:
    """Accumulates the disagreement of two predictors."""

    def __init__(self, classes: int) -> None:
        self.images = self.pixels = self.same = 0
        self.max_dp = self.sum_dp = 0.0
        self.shapes: set[str] = set()
        self.worst: tuple[float, Image] = (2.0, np.empty(0, np.uint8))
        self._counts = [Counts.zeros(classes), Counts.zeros(classes)]
        self._known = False

    def update(self, batch: Sequence[Case], expected: Sequence[Prediction], got: Sequence[Prediction]) -> None:
        height, width = batch[0].image.shape[:2]
        self.shapes.add(f"{len(batch)}x{height}x{width}")
        for case, one, other in zip(batch, expected, got, strict=True):
            self._update(case, one, other)

    def _update(self, case: Case, expected: Prediction, got: Prediction) -> None:
        dp = np.abs(expected.confidence - got.confidence)
        same = int((expected.labels == got.labels).sum())
        self.images += 1
        self.pixels += dp.size
        self.same += same
        # NaN must fail: max() with NaN would keep the other.
        self.max_dp = float(np.maximum(self.max_dp, dp.max()))
        self.sum_dp += float(dp.sum(dtype=np.float64))
        if same / dp.size < self.worst[0]:
            self.worst = (same / dp.size, case.image)
        if case.truth is not None:
            self._known = True
            truth = Truth(np.ascontiguousarray(case.truth), self._counts[0].classes, TOLERANCES)
            for counts, prediction in zip(self._counts, (expected, got), strict=True):
                counts += count_image(prediction.labels, truth)

    def record(self, backend: str, precision: str, limits: Limits) -> ParityRecord:
        if not self.pixels:
            raise SegtoolError("no images to verify with", mend="give a folder of images with --images")
        agreement = self.same / self.pixels
        mious = [set_scores(counts).miou for counts in self._counts] if self._known else None
        moved = None if mious is None else mious[1] - mious[0]
        near = moved is None or abs(moved) <= limits.miou
        return ParityRecord(
            backend=backend,
            precision=precision,
            versions={"torch": str(torch.__version__), "onnxruntime": ort.__version__},
            images=self.images,
            shapes=sorted(self.shapes),
            label_agreement=agreement,
            max_abs_dp=self.max_dp,
            mean_abs_dp=self.sum_dp / self.pixels,
            miou_difference=moved,
            passed=agreement >= limits.agreement and self.max_dp <= limits.dp and near,
        )
