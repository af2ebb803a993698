"""Images larger than memory: read and written in windows, one answer without seams.

`blending` puts the network's answers to overlapping tiles together, `segment` lets the CRF refine them window by
window, `reading` and `writing` are about files.
"""

from segtool.runtime.maps.blending import Source
from segtool.runtime.maps.segment import segment_map

__all__ = ["Source", "segment_map"]
