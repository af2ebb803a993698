"""Networks, and a network with its CRFs."""

from segtool.train.networks.segmenter import Segmenter, SegmenterLogits

__all__ = ["Segmenter", "SegmenterLogits"]
