"""An engine for the played device: ONNX Runtime takes TensorRT's place."""

import ctypes
import math

import numpy as np

from segtool.engine import Machine
from segtool.runtime.cuda_device import cuda_device

HERE = Machine(tensorrt="11.4.0.106", gpu="Played GPU", compute_capability="9.0", driver="580.65")
TENSORS = 6  # image, labels, confidence, unary_labels, probabilities, lattice_status
DRIVER = ctypes.CDLL("libcuda.so.1")
HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def on_device(address, shape, dtype):
    """An array on memory of the played device."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(int(address)), dtype).reshape(shape)


class Played:
    """An execution context whose work ONNX Runtime does, on the addresses that it was given."""

    def __init__(self, model):
        self.model, self.addresses = model, {}
        self.outputs = {o.name: o for o in model.backend.session.get_outputs()}
        self.status = (10, 0)
        self.executed = 0
        self.callbacks = []  # a graph calls them again, whenever it is launched

    def shape_of(self, name):
        n, height, width, _ = self.shape
        if name == "lattice_status":
            return (2,)
        return (n, len(self.model.card.classes), height, width) if name == "probabilities" else (n, height, width)

    def enqueue(self, stream):
        shape, addresses = self.shape, dict(self.addresses)  # what is captured keeps those of its time
        self.callbacks.append(HOST_FUNCTION(lambda _: self.execute(shape, addresses)))
        return DRIVER.cuLaunchHostFunc(ctypes.c_void_p(stream), self.callbacks[-1], None) == 0

    def execute(self, shape, addresses):
        self.executed += 1
        found = self.model.backend.run(on_device(addresses["image"], shape, np.uint8).copy())
        found["lattice_status"] = np.array(self.status, np.int32)
        for name in addresses.keys() & found.keys():
            on_device(addresses[name], found[name].shape, found[name].dtype)[...] = found[name]


class Frames:
    """Images on the device, of a library that speaks the CUDA array interface."""

    def __init__(self, images):
        self._buffer = cuda_device().allocate(images.nbytes, stream=cuda_device().default_stream)
        on_device(self._buffer.handle, images.shape, images.dtype)[...] = images
        self.__cuda_array_interface__ = {
            "shape": images.shape, "typestr": "|u1", "data": (int(self._buffer.handle), False), "version": 3,
            "strides": None, "stream": None,
        }  # fmt: skip
