"""Masks as polygons, in the files that annotation tools import.

`pieces` finds the polygons of a mask, `keyhole` draws one with holes as a single line, `formats` writes them.
"""

from segtool.data.polygons.formats import FORMATS, Drawing, write_polygons, written_files
from segtool.data.polygons.pieces import Piece, pieces

__all__ = ["FORMATS", "Drawing", "Piece", "pieces", "write_polygons", "written_files"]
