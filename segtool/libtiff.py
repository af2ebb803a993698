"""The libtiff that Pillow reads TIFF with."""

import ctypes
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_MAPS = Path("/proc/self/maps")
_seen = threading.local()


class Watch:
    """A context in which a damaged file is no longer a line on standard error that names no file.

    Pillow reads on over much of what libtiff finds wrong. Where the system does not say which libtiff is loaded, it
    goes on writing, and nobody is told.

    Attributes:
        damaged: whether libtiff found an error in this thread, in the context.
    """

    damaged = False

    def __enter__(self) -> "Watch":
        _listen()
        _seen.error = False
        return self

    def __exit__(self, *error: Any) -> None:
        self.damaged = _seen.error


@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
def _handler(module: bytes | None, form: bytes | None, values: int | None) -> None:
    _seen.error = True


@cache
def _listen() -> None:
    with suppress(OSError):
        lines = _MAPS.read_text().splitlines()
        for path in {line.split(maxsplit=5)[-1] for line in lines if Path(line).name.startswith("libtiff")}:
            with suppress(OSError, AttributeError):
                ctypes.CDLL(path).TIFFSetErrorHandler(_handler)
