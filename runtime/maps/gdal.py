"""rasterio, and GDAL behind it, as maps use them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from segtool.extras import needed

_CACHE = 128  # MiB that GDAL keeps
_OPTIONS = {"GDAL_CACHEMAX": _CACHE, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}


@contextmanager
def gdal() -> Iterator[Any]:
    """rasterio, within which GDAL keeps to the file and its memory, and is quiet."""
    rasterio = rasterio_api()
    with rasterio.Env(**_OPTIONS), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield rasterio


def window_of(rows: slice, columns: slice) -> Any:
    """A window as rasterio knows it."""
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return rasterio_api().windows.Window(columns.start, rows.start, width, height)


def rasterio_api() -> Any:
    """rasterio with its windows and copying, or the error that says how to install it."""
    for part in ("rasterio.shutil", "rasterio.windows"):
        needed(part, "maps", "data")
    return needed("rasterio", "maps", "data")
