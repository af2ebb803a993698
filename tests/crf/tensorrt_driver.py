"""Asks and runs plugins through `tensorrt_library/drive.cpp`."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from segtool.crf.tensorrt_operators import OPERATORS

BY_NAME = {operator.name: operator for operator in OPERATORS}
KINDS = {"FLOAT": (0, np.float32), "INT32": (3, np.int32)}  # of nvinfer1::DataType
DTYPES = dict(KINDS.values())


class Described:
    """Shapes and types as the driver takes them."""

    def __init__(self, shapes: list[tuple[int, ...]], kinds: list[int]) -> None:
        self.shapes = ((ctypes.c_int64 * 8) * 8)(*((ctypes.c_int64 * 8)(*shape) for shape in shapes))
        self.ranks = (ctypes.c_int * 8)(*map(len, shapes))
        self.kinds = (ctypes.c_int * 8)(*kinds)
        self.arguments = (len(shapes), self.shapes, self.ranks, self.kinds)


class Driver:
    """A library of `drive.cpp` and plugins."""

    def __init__(self, path: Path) -> None:
        self._lib = ctypes.CDLL(str(path))
        self._lib.drive_plan.restype = ctypes.c_int64

    def plan(self, name: str, fields: dict[str, float], *shapes: tuple[int, ...]) -> tuple[list, list, int]:
        """Shapes and types of the outputs, and the workspace in bytes, of an operator."""
        kinds = [KINDS[kind][0] for kind in BY_NAME[name].inputs]
        given, wanted = Described(list(shapes), kinds), Described([], [])
        arguments = (*_fields(name, fields), *given.arguments, wanted.ranks, wanted.shapes, wanted.kinds)
        workspace = self._lib.drive_plan(*arguments)
        outputs = range(len(BY_NAME[name].outputs))
        found = [tuple(wanted.shapes[i][: wanted.ranks[i]]) for i in outputs]
        return found, [DTYPES[wanted.kinds[i]] for i in outputs], workspace

    def run(self, name: str, fields: dict[str, float], *inputs: np.ndarray) -> list[np.ndarray]:
        """Enqueues a plugin on arrays."""
        shapes, kinds, bytes_ = self.plan(name, fields, *(x.shape for x in inputs))
        assert bytes_ >= 0
        outputs = [np.full(s, 99, k) for s, k in zip(shapes, kinds, strict=True)]
        workspace = np.full(max(1, bytes_), 255, np.uint8)
        sides: list[Any] = []
        for arrays in (inputs, outputs):
            ids = [0 if x.dtype == np.float32 else 3 for x in arrays]
            sides += Described([x.shape for x in arrays], ids).arguments
        pointers = [(ctypes.c_void_p * 8)(*(x.ctypes.data for x in arrays)) for arrays in (inputs, outputs)]
        place = ctypes.c_void_p(workspace.ctypes.data)
        assert self._lib.drive_enqueue(*_fields(name, fields), *sides, *pointers, place) == 0
        return outputs


def _fields(name: str, fields: dict[str, float]) -> tuple[bytes, int, Any, Any]:
    names = [field.name for field in BY_NAME[name].fields]
    values = [fields.get(field.name, field.default) for field in BY_NAME[name].fields]
    encoded = (ctypes.c_char_p * 4)(*(n.encode() for n in names))
    return name.encode(), len(names), encoded, (ctypes.c_float * 4)(*values)
