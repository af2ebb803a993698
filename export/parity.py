"""Is the deployed file the same model? PyTorch against ONNX Runtime, image by image."""

from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import segtool.runtime
from segtool.card import ParityRecord
from segtool.errors import SegtoolError
from segtool.prediction import Prediction
from segtool.train.checkpoint import load_segmenter
from segtool.train.predict import TorchPredictor

# Of the model's precision: least share of equal labels, largest difference of the winning probability. A float16
# network may put a boundary pixel on the other side, and there the probability of the winner jumps.
TOLERANCES = {"float32": (0.9999, 1e-3), "float16": (0.997, 0.25)}

Predictor = Callable[[NDArray[np.uint8]], Prediction]


def verify(
    run: Path,
    model: Path,
    images: Iterable[NDArray[np.uint8]],
    *,
    min_agreement: float | None = None,
    max_abs_dp: float | None = None,
) -> list[ParityRecord]:
    """Compares an exported file with the checkpoint that it came from.

    Args:
        run: run folder or checkpoint.
        model: the `.onnx` file.
        images: uint8 [H,W,3].
        min_agreement: least share of pixels with the same label; of the file's precision when not given.
        max_abs_dp: largest difference of the winning class' probability; likewise.

    Returns:
        One record with the portable function bodies, one with the native library.
    """
    bodies = segtool.runtime.load(model, native=False)
    native = segtool.runtime.load(model, native=True)
    segmenter, card = load_segmenter(run)
    if bodies.card.classes != card.classes or (bodies.card.crf is None) != (card.crf is None):
        raise SegtoolError("the file was exported from another model", where=model)
    reference = TorchPredictor(segmenter, bodies.card.crf.iterations if bodies.card.crf else None)
    differences = {
        "ONNX Runtime, function bodies": _Difference(),
        "ONNX Runtime, native library": _Difference(),
    }
    for image in images:
        expected = reference(image)
        for difference, deployed in zip(differences.values(), (bodies, native), strict=True):
            difference.update(expected, deployed(image))
    least, most = TOLERANCES[bodies.card.precision]
    limits = (min_agreement or least, max_abs_dp or most)
    return [d.record(name, bodies.card.precision, *limits) for name, d in differences.items()]


class _Difference:
    """Accumulates the disagreement of two predictors."""

    def __init__(self) -> None:
        self.images = self.pixels = self.same = 0
        self.max_dp = self.sum_dp = 0.0

    def update(self, expected: Prediction, got: Prediction) -> None:
        dp = np.abs(expected.confidence - got.confidence)
        self.images += 1
        self.pixels += dp.size
        self.same += int((expected.labels == got.labels).sum())
        # NaN must fail: max() with NaN would keep the other.
        self.max_dp = float(np.maximum(self.max_dp, dp.max()))
        self.sum_dp += float(dp.sum(dtype=np.float64))

    def record(self, backend: str, precision: str, min_agreement: float, max_abs_dp: float) -> ParityRecord:
        if not self.pixels:
            raise SegtoolError("no images to verify with", mend="give a folder of images with --images")
        agreement = self.same / self.pixels
        return ParityRecord(
            backend=backend,
            precision=precision,
            versions={name: metadata.version(name) for name in ("torch", "onnxruntime")},
            images=self.images,
            label_agreement=agreement,
            max_abs_dp=self.max_dp,
            mean_abs_dp=self.sum_dp / self.pixels,
            passed=agreement >= min_agreement and self.max_dp <= max_abs_dp,
        )
