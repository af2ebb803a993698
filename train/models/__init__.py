"""Networks, and a network with its dense CRF."""

from segtool.train.models.segmenter import Segmenter

__all__ = ["Segmenter"]
