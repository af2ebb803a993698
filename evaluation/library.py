"""The compiled counting of pixels and boundaries, and the types of its C interface (`native/counts.h`)."""

import ctypes
from functools import cache

from segtool.errors import SegtoolError
from segtool.native_library import load_library, native_library

_I64, _PTR, _INT = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int
_ARGUMENTS = {
    "segtool_count_pixels": [_PTR] * 4 + [_I64, _INT, _INT, _INT, _PTR, _PTR],
    "segtool_boundary_bands": [_PTR, _PTR, _I64, _I64, _PTR, _INT, _PTR],
    "segtool_match_boundaries": [_PTR, _PTR, _PTR, _I64, _I64, _PTR, _INT, _PTR],
}
_REASONS = {
    1: "out of memory while counting",
    2: "a label map without pixels",
    3: "tolerances must be ascending, from 0 to 120 pixels",
    4: "a predicted class is out of range",
}


@cache
def library() -> ctypes.CDLL:
    """The installed library.

    Raises:
        SegtoolError: it was not built, or from other sources.
    """
    return load_library(native_library("segtool.evaluation", "segtool_counts"), _ARGUMENTS)


def call(name: str, *arguments: object) -> None:
    """Calls a function of `counts.h`, without its prefix, on addresses.

    Raises:
        SegtoolError: the call was refused.
    """
    status = getattr(library(), f"segtool_{name}")(*arguments)
    if status:
        raise SegtoolError(_REASONS[status])
