"""Networks, and a network with its dense CRF."""

from segtool.train.networks.segmenter import Segmenter

__all__ = ["Segmenter"]
