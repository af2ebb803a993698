"""The libtiff that Pillow reads TIFF with."""

import ctypes
from contextlib import suppress
from functools import cache
from pathlib import Path

_MAPS = Path("/proc/self/maps")


@cache
def silence() -> None:
    """Keeps libtiff from writing to standard error, where its lines name no file; Pillow raises what it finds wrong.

    Where the system does not tell what is loaded, it goes on writing.
    """
    with suppress(OSError, AttributeError):
        lines = _MAPS.read_text().splitlines()
        for path in {line.split(maxsplit=5)[-1] for line in lines if "/libtiff" in line}:
            ctypes.CDLL(path).TIFFSetErrorHandler(None)
