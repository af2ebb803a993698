"""The first run of an exported file, before it takes its place: does it run at sizes and in batches other than the one
that was traced, and is what it gives what PyTorch gives?

Some networks write the example's size into their graph. This finds them; how near a file is to PyTorch is for `segtool
verify` to measure.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

import segtool.runtime
from segtool.bands import from_picture
from segtool.drawing import smooth_noise
from segtool.errors import SegtoolError
from segtool.export.comparison import Case, Comparison
from segtool.images import RGB
from segtool.prediction import Prediction
from segtool.train.networks import Segmenter
from segtool.train.predict import TorchPredictor

Image = NDArray[Any]

# A graph for another size is far outside both, a float16 network or one with ties between classes is not.
_LEAST_AGREEMENT, _LARGEST_MEAN_DP = 0.9, 0.01
_STRIDE = 32


class ExpectedBatch(NamedTuple):
    """A batch of images of one size, and what PyTorch gives for each."""

    images: Sequence[Image]
    expected: Sequence[Prediction]

    def __str__(self) -> str:
        height, width = self.images[0].shape[:2]
        return f"{len(self.images)}x{height}x{width}"


def expected_batches(segmenter: Segmenter, size: tuple[int, int] | None) -> list[ExpectedBatch]:
    """What a file exported from a segmenter is tried with.

    Args:
        segmenter: in float32.
        size: height and width, where the file takes no other.

    Raises:
        SegtoolError: the network itself takes no such images.
    """
    predictor = TorchPredictor(segmenter)
    found = []
    for noise in _batches(size, max(segmenter.stride, _STRIDE)):
        images = [from_picture(picture, segmenter.contract) for picture in noise]
        try:
            found.append(ExpectedBatch(images, [predictor(image) for image in images]))
        except (RuntimeError, ValueError, AssertionError) as error:
            height, width = images[0].shape[:2]
            raise SegtoolError(
                f"the network takes no image of {height}x{width}: {str(error).splitlines()[0]}",
                where="in PyTorch",
                mend="give a size that it takes: --size HxW",
            ) from error
    return found


def check_file(file: Path, cases: Sequence[ExpectedBatch], *, compare: bool = True) -> None:
    """Runs a file in ONNX Runtime.

    Args:
        file: as `save_onnx` writes it.
        cases: of the segmenter that it comes from.
        compare: whether it is the same network; one in 8 bits is not.

    Raises:
        SegtoolError: it does not run, or gives something else.
    """
    model = segtool.runtime.load(file, backend="cpu")
    mend = "give the size that it is for: --size HxW" if model.backend.size == (None, None) else None
    for case in cases:
        try:
            got = model.batch(case.images)
        except SegtoolError as error:
            raise SegtoolError(f"the exported network does not run: {error.what}", where=case, mend=mend) from error
        if compare and not _alike(case, got):
            raise SegtoolError("the exported network gives other labels than PyTorch's", where=case, mend=mend)


def _batches(size: tuple[int, int] | None, stride: int) -> list[list[RGB]]:
    if size is not None:
        return [[smooth_noise(*size)]]
    pair = [smooth_noise(8 * stride, 10 * stride, seed) for seed in range(2)]
    return [[smooth_noise(9 * stride - 5, 12 * stride + 3)], pair]


def _alike(case: ExpectedBatch, got: Sequence[Prediction]) -> bool:
    comparison = Comparison(0)  # classes matter where truth is known
    comparison.update([Case(image) for image in case.images], case.expected, got)
    agreement, dp = comparison.same / comparison.pixels, comparison.sum_dp / comparison.pixels
    return math.isfinite(dp) and (agreement >= _LEAST_AGREEMENT or dp <= _LARGEST_MEAN_DP)
