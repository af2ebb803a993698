"""Run in a process of its own: the plugins in Python, called through TensorRT's bindings as TensorRT calls them.

    python -m tests.crf.python_plugins EMULATED DRIVER PHOTO

TensorRT-RTX's bindings, unlike those of the lean runtime, know all types and formats. EMULATED is the library with CUDA
on the CPU.
"""

import sys
import traceback
from pathlib import Path

import numpy as np
import tensorrt_rtx as trt

from segtool.crf import library, tensorrt_operators, tensorrt_plugin
from segtool.crf.tensorrt_operators import OPERATORS

from ..own_process import end_with
from .one_iteration import check_one_iteration
from .tensorrt_driver import Driver


def check(driver: Driver, photo: np.ndarray) -> None:
    check_one_iteration(driver.run, photo)
    fields, shape = {"spatial_sigma": 80.0, "color_sigma": 13.0, "vertices_per_pixel": 0.5}, (2, 3, 100, 101)
    expected = OPERATORS[0].shapes(tensorrt_operators.Extents(), fields, shape)
    found, kinds, workspace = driver.plan("BilateralLattice", fields, shape)
    assert found == [tuple(extents) for extents in expected]
    assert kinds == [np.int32, np.float32, np.int32, np.int32]
    assert workspace == OPERATORS[0].workspace([shape], found, fields)
    print("one iteration, and its plan")


class Once(trt.ILogger):
    """Calls from within a call of TensorRT's, as the builder does: outside of one its bindings convert no fields."""

    def __init__(self, call) -> None:
        trt.ILogger.__init__(self)
        self._call = call

    def log(self, severity, message) -> None:
        call, self._call = self._call, lambda: None
        try:
            call()
        except BaseException:
            traceback.print_exc()


def main(emulated: str, driver: str, photo: str) -> None:
    lib = library.load(Path(emulated))
    library.library = lambda: lib
    tensorrt_plugin.register(trt)
    network = trt.Builder(trt.Logger()).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    logger = Once(lambda: check(Driver(Path(driver)), np.load(photo)))
    trt.OnnxParser(network, logger).parse(b"no model")  # which it logs


end_with(lambda: main(*sys.argv[1:]))
