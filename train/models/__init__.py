"""Networks, the dense CRF layer, and the two together."""

from segtool.train.models.crf import DenseCRF, KernelWidths
from segtool.train.models.segmenter import Segmenter

__all__ = ["DenseCRF", "KernelWidths", "Segmenter"]
