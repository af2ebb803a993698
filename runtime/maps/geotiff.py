"""Reading and writing large images in windows, with the place on earth that they have."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.errors import NoMoreRoom, SegtoolError
from segtool.files import atomic_path, refuse_pipe, temporary_path
from segtool.images import RGB
from segtool.prediction import VOID
from segtool.runtime.maps.segment import Part

_BLOCK = 512  # pixels, side of a block of a TIFF
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


class Map:
    """An image that is read in windows; see `segtool.runtime.maps.Source`. Open it with `opened`.

    Attributes:
        height, width: in pixels.
        profile: where on earth it lies: `crs` and `transform`, or None.
    """

    def __init__(self, dataset: Any, bands: Sequence[int], path: Path) -> None:
        self._dataset, self._bands, self._path = dataset, list(bands), path
        self.height, self.width = dataset.height, dataset.width
        self.place = {"crs": dataset.crs, "transform": dataset.transform} if dataset.crs else {}

    def read(self, rows: slice, columns: slice) -> RGB:
        """A window of the chosen bands, uint8 [h,w,3].

        Raises:
            SegtoolError: it cannot be read.
        """
        found = self._read(lambda window: self._dataset.read(self._bands, window=window), rows, columns)
        return np.ascontiguousarray(found.transpose(1, 2, 0))

    def missing(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Where a window has no data: the file's nodata value, mask or transparency says so."""
        valid = self._read(lambda window: self._dataset.dataset_mask(window=window), rows, columns)
        return valid == 0

    def _read(self, read: Any, rows: slice, columns: slice) -> Any:
        rasterio = rasterio_api()
        window = window_of(rows, columns)
        try:
            return read(window)
        except rasterio.errors.RasterioError as error:
            where = f"{self._path}, rows {rows.start}..{rows.stop}, columns {columns.start}..{columns.stop}"
            raise SegtoolError("a part of the image cannot be read", where=where, mend="replace the file") from error


@contextmanager
def opened(path: Path, bands: Sequence[int] | None = None) -> Iterator[Map]:
    """An image file as a map.

    Args:
        bands: the three that are red, green and blue, counted from 1; the first three, or the only one, by default.

    Raises:
        SegtoolError: rasterio is missing; no image that it reads; not 8 bits; no such bands.
    """
    rasterio = rasterio_api()
    refuse_pipe(path)
    with rasterio.Env(**_OPTIONS), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            dataset = rasterio.open(path.resolve(), driver=_driver(path))
        except rasterio.errors.RasterioError as error:
            raise _not_read(path) from error
        with dataset:
            yield Map(dataset, _bands(dataset, bands, path), path)


def _driver(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise SegtoolError("cannot read the file", where=path, mend=error.strerror) from error
    for begin, driver in _DRIVERS.items():
        if head.startswith(begin):
            return driver
    raise _not_read(path)


def _not_read(path: Path) -> SegtoolError:
    return SegtoolError("not an image that is read in windows", where=path, mend="a TIFF, JPEG or PNG")


def _bands(dataset: Any, wanted: Sequence[int] | None, path: Path) -> Sequence[int]:
    kinds = sorted(set(dataset.dtypes))
    if kinds != ["uint8"]:
        mend = "the network sees levels 0..255: scale them to 8 bits"
        raise SegtoolError(f"an image of {', '.join(kinds)}", where=path, mend=mend)
    if wanted is None:
        return (1, 2, 3) if dataset.count >= 3 else (1, 1, 1)
    if len(wanted) != 3 or not all(1 <= band <= dataset.count for band in wanted):
        mend = f"the file has the bands 1..{dataset.count}; three of them"
        raise SegtoolError(f"bands {', '.join(map(str, wanted))}", where=path, mend=mend)
    return wanted


def write_labels(
    path: Path, source: Map, parts: Iterable[Part], colors: Sequence[tuple[int, int, int]], note: str
) -> None:
    """Writes labels as a cloud-optimised GeoTIFF with overviews and a palette, in the source's place; whole or not.

    Args:
        parts: labels with void where nothing is to be said.
        note: is kept in the file as SEGTOOL.

    Raises:
        SegtoolError: the file cannot be written, or what `parts` raises.
    """
    rasterio = rasterio_api()
    plain = temporary_path(path)  # a cloud-optimised file cannot be written in parts
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 1,
        "height": source.height,
        "width": source.width,
        "nodata": VOID,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        "bigtiff": "if_safer",
        **source.place,
    }
    try:
        with rasterio.open(plain, "w", **profile) as file:
            file.write_colormap(1, {i: (*color, 255) for i, color in enumerate(colors)} | {VOID: (0, 0, 0, 0)})
            file.update_tags(SEGTOOL=note)
            for part in parts:
                file.write(part.labels, 1, window=window_of(part.rows, part.columns))
        with atomic_path(path) as temporary:
            rasterio.shutil.copy(
                plain, temporary, driver="COG", compress="deflate", overview_resampling="mode", bigtiff="if_safer"
            )
    except rasterio.errors.RasterioError as error:
        raise NoMoreRoom("cannot write the map", where=path, mend=f"{error}; choose another --out") from error
    finally:
        plain.unlink(missing_ok=True)


def note_of_map(path: Path) -> str:
    """The note of a map that is whole; empty where there is none."""
    rasterio = rasterio_api()
    try:
        with rasterio.open(path, driver="GTiff") as file:
            return str(file.tags().get("SEGTOOL", ""))
    except rasterio.errors.RasterioError:
        return ""


def window_of(rows: slice, columns: slice) -> Any:
    """A window as rasterio knows it."""
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return rasterio_api().windows.Window(columns.start, rows.start, width, height)


def rasterio_api() -> Any:
    """rasterio with its windows and copying.

    Raises:
        SegtoolError: it is not installed.
    """
    try:
        import rasterio
        import rasterio.shutil
        import rasterio.windows
    except ImportError as error:
        raise SegtoolError("maps need rasterio", mend="pip install 'segtool[data]'") from error
    return rasterio
