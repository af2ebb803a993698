"""The ranges of activations that 8 bits are to cover, with the activations of one image in memory at a time.

ONNX Runtime's calibrator keeps those of all images. Its histograms may also be widened image by image, but their bins
would be as narrow as the first image's values are small, and as many.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector, PercentileCalibrater, save_tensors_data
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from segtool.errors import SegtoolError

Inputs = dict[str, NDArray[np.float32]]

_PERCENTILE = 99.99  # outliers are cut: with the whole range CamVid loses a point more
_OPERATORS = sorted({*QDQRegistry, *QLinearOpsRegistry})  # what `quantize_static` quantizes


def save_ranges(network: Path, inputs: Iterable[Inputs], path: Path) -> None:
    """Writes the ranges of all activations as `quantize_static` reads them, its `calibration_cache_path`.

    Args:
        network: the `.onnx` file whose activations are meant.
        inputs: of the network, by name, one image at a time. Iterated twice.
        path: of the JSON to write.

    Raises:
        SegtoolError: no image, or activations that are not finite.
    """
    calibrator = _Calibrator(network, _OPERATORS, path.with_suffix(".onnx"), percentile=_PERCENTILE, symmetric=True)
    calibrator.augment_graph()
    calibrator.create_inference_session()
    calibrator.collect(inputs)
    save_tensors_data(calibrator.compute_data(), path)


class _Span(NamedTuple):
    """Between which values an activation lies, and its magnitudes."""

    low: np.float32
    high: np.float32
    least: np.float32
    most: np.float32

    def joined(self, other: "_Span | None") -> "_Span":
        if other is None:
            return self
        # Not min and max, with which a value that is no number could get lost.
        return _Span(
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            np.minimum(self.least, other.least),
            np.maximum(self.most, other.most),
        )


def _span(values: NDArray[np.float32]) -> _Span:
    magnitudes = np.abs(values)
    return _Span(values.min(), values.max(), magnitudes.min(), magnitudes.max())


class _Calibrator(PercentileCalibrater):
    """The histograms of all images at once: the first time round finds where they lie, the second counts."""

    def collect(self, inputs: Iterable[Inputs]) -> None:
        spans: dict[str, _Span] = {}
        for name, values in self._activations(inputs):
            spans[name] = _span(values).joined(spans.get(name))
        _check(spans)
        self.collector = HistogramCollector(
            self.method, self.symmetric, self.num_bins, self.num_quantized_bins, self.percentile, self.scenario
        )
        counts = {name: np.zeros(self.num_bins, np.int64) for name in spans}
        edges = {}
        for name, values in self._activations(inputs):
            span = spans[name]
            limits: Any = span.least, span.most  # in float32, in which NumPy finds them by itself
            found, edges[name] = np.histogram(np.abs(values), self.num_bins, limits)
            counts[name] += found
        for name, span in spans.items():
            histogram = counts[name], edges[name].astype(np.float32), span.low, span.high
            self.collector.histogram_dict[name] = histogram

    def _activations(self, inputs: Iterable[Inputs]) -> Iterator[tuple[str, NDArray[np.float32]]]:
        names = sorted(self.tensors_to_calibrate)
        for one in inputs:
            for name, values in zip(names, self.infer_session.run(names, one), strict=True):
                if values.size:
                    yield name, values


def _check(spans: dict[str, _Span]) -> None:
    if not spans:
        raise SegtoolError("calibration needs images", mend="--calibrate SPEC of a dataset that has some")
    for name, span in spans.items():
        if not np.isfinite(span).all():
            raise SegtoolError("the network's values are not finite for a calibration image", where=f"tensor {name}")
