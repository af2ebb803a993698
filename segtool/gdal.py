"""rasterio, and GDAL behind it, as bands and maps use them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from segtool.extras import needed
from segtool.images import NotAnImage

_CACHE = 128  # MiB that GDAL keeps
_OPTIONS = {"GDAL_CACHEMAX": _CACHE, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
# What a file begins with, and GDAL's driver for it; what else GDAL reads may name other files.
_DRIVERS = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
}


@contextmanager
def gdal() -> Iterator[Any]:
    """rasterio, within which GDAL keeps to the file and its memory, and is quiet."""
    rasterio = rasterio_api()
    with rasterio.Env(**_OPTIONS):
        yield rasterio


def driver_of(head: bytes, where: object) -> str:
    """What reads a file that begins so.

    Raises:
        NotAnImage: nothing does.
    """
    for begin, driver in _DRIVERS.items():
        if head.startswith(begin):
            return driver
    raise not_read(where)


def not_read(where: object) -> NotAnImage:
    """The error for a file that is no such image."""
    return NotAnImage("not an image whose bands can be read", where=where, mend="a TIFF, JPEG or PNG")


def window_of(rows: slice, columns: slice) -> Any:
    """A window as rasterio knows it."""
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return rasterio_api().windows.Window(columns.start, rows.start, width, height)


@cache
def _quiet() -> None:
    """Images without a place on earth are usual. Once for all: filters of warnings are no thread's own."""
    errors = needed("rasterio.errors", "maps and bands", "data")
    warnings.filterwarnings("ignore", category=errors.NotGeoreferencedWarning)


def rasterio_api() -> Any:
    """rasterio with its windows and copying, or the error that says how to install it."""
    for part in ("rasterio.shutil", "rasterio.windows"):
        needed(part, "maps and bands", "data")
    _quiet()
    return needed("rasterio", "maps and bands", "data")
