"""Quantizes a file by so many images of 480x360 and prints the most memory that took, in bytes: FILE COUNT"""

import resource
import sys

import onnx

from segtool.drawing import smooth_noise
from segtool.export.int8 import quantize_network


class Images:
    """Made each time that they are iterated over, as a dataset's are read."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return (smooth_noise(360, 480, seed) for seed in range(self.count))


if __name__ == "__main__":
    quantize_network(onnx.load(sys.argv[1]), Images(int(sys.argv[2])), "tensorrt")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
