"""Reading large images in windows, with the place on earth that they have."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.errors import SegtoolError
from segtool.files import refuse_pipe
from segtool.images import RGB
from segtool.runtime.maps.gdal import gdal, rasterio_api, window_of

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
        place: where on earth it lies: `crs` and `transform`, or `gcps`, as far as the file says.
    """

    def __init__(self, dataset: Any, bands: Sequence[int], path: Path) -> None:
        self._dataset, self._bands, self._path = dataset, list(bands), path
        self.height, self.width = dataset.height, dataset.width
        self.place = _place(dataset)

    def read(self, rows: slice, columns: slice) -> RGB:
        """A window of the chosen bands, uint8 [h,w,3].

        Raises:
            SegtoolError: it cannot be read.
        """
        if self._dataset.driver == "PNG" and rows == slice(0, self.height) and self.height > 1:
            # Read at once, a cut PNG gives whatever was in memory, and no error.
            half = self.height // 2
            return np.concatenate([self.read(slice(0, half), columns), self.read(slice(half, self.height), columns)])
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
        SegtoolError: rasterio is missing; no image that it reads; not 8 bits of grey or colour; turned by EXIF; no such
            bands.
    """
    refuse_pipe(path)
    with gdal() as rasterio:
        try:
            dataset = rasterio.open(path.resolve(), driver=_driver(path))
        except rasterio.errors.RasterioError as error:
            raise _not_read(path) from error
        with dataset:
            _check_levels(dataset, path)
            yield Map(dataset, _bands(dataset, bands, path), path)


def _place(dataset: Any) -> dict[str, Any]:
    points, system = dataset.gcps
    if points:
        return {"gcps": points, "crs": system}
    place = {} if dataset.transform.is_identity else {"transform": dataset.transform}
    return place | ({"crs": dataset.crs} if dataset.crs else {})


def _check_levels(dataset: Any, path: Path) -> None:
    """Refuses files whose numbers are no levels of grey or colour, 0 black and 255 white."""
    structure = dataset.tags(ns="IMAGE_STRUCTURE") | dataset.tags(1, ns="IMAGE_STRUCTURE")
    kinds = ", ".join(sorted(set(dataset.dtypes)))
    mend = "save it as 8 bits of grey or RGB"
    if kinds != "uint8" or structure.get("NBITS", "8") != "8":
        raise SegtoolError(f"an image of {kinds}, {structure.get('NBITS', 'all')} bits", where=path, mend=mend)
    if dataset.colorinterp[0].name == "palette" or structure.get("MINISWHITE") == "YES":
        raise SegtoolError("an image with a palette, or of which 0 is white", where=path, mend=mend)
    lab = dataset.photometric is not None and "LAB" in dataset.photometric.name.upper()
    if lab or structure.get("SOURCE_COLOR_SPACE") == "CIELAB":
        raise SegtoolError("an image of CIE L*a*b*", where=path, mend=mend)
    if dataset.tags().get("EXIF_Orientation", "1") != "1":
        raise SegtoolError("an image that EXIF turns", where=path, mend="turn it, or predict without --map")


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
    if wanted is None:
        return (1, 2, 3) if dataset.count >= 3 else (1, 1, 1)
    if len(wanted) != 3 or not all(1 <= band <= dataset.count for band in wanted):
        mend = f"the file has the bands 1..{dataset.count}; three of them"
        raise SegtoolError(f"bands {', '.join(map(str, wanted))}", where=path, mend=mend)
    return wanted
