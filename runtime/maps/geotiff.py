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
    with _gdal() as rasterio:
        try:
            dataset = rasterio.open(path.resolve(), driver=_driver(path))
        except rasterio.errors.RasterioError as error:
            raise _not_read(path) from error
        with dataset:
            _check_levels(dataset, path)
            yield Map(dataset, _bands(dataset, bands, path), path)


@contextmanager
def _gdal() -> Iterator[Any]:
    """rasterio, within which GDAL keeps to the file and its memory, and is quiet."""
    rasterio = rasterio_api()
    with rasterio.Env(**_OPTIONS), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield rasterio


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
    plain = temporary_path(path)  # a cloud-optimised file cannot be written in parts
    try:
        with _gdal() as rasterio:
            with _written(path):
                file = rasterio.open(plain, "w", **_profile(source))
            with file:
                file.write_colormap(1, {i: (*color, 255) for i, color in enumerate(colors)} | {VOID: (0, 0, 0, 0)})
                file.update_tags(SEGTOOL=note)
                for part in parts:
                    with _written(path):
                        file.write(part.labels, 1, window=window_of(part.rows, part.columns))
            with atomic_path(path) as temporary, _written(path):
                options = {"compress": "deflate", "overview_resampling": "mode", "bigtiff": "if_safer"}
                rasterio.shutil.copy(plain, temporary, driver="COG", **options)
                if _checksums(plain)[0] != _checksums(temporary)[0]:  # GDAL may not say that the disk is full
                    raise OSError("what was written is not what can be read")
    finally:
        plain.unlink(missing_ok=True)


def _profile(source: Map) -> dict[str, Any]:
    return {
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


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """GDAL's errors, which share no public class, as that of a file that cannot be written."""
    try:
        yield
    except SegtoolError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NoMoreRoom("cannot write the map", where=path, mend=f"{reason}; choose another --out") from error


def _checksums(path: Path) -> list[int]:
    """Of the labels and of each overview; all of the file is read.

    Raises:
        Exception: of GDAL, if it cannot be.
    """
    rasterio = rasterio_api()
    with rasterio.open(path, driver="GTiff") as file:
        levels = range(len(file.overviews(1)))
        found = [file.checksum(1)]
    for level in levels:
        with rasterio.open(path, driver="GTiff", overview_level=level) as file:
            found.append(file.checksum(1))
    return found


def note_of_map(path: Path) -> str:
    """The note of a map that is whole; empty where there is none."""
    with _gdal() as rasterio:
        try:
            with rasterio.open(path, driver="GTiff") as file:
                note = str(file.tags().get("SEGTOOL", ""))
            return note if note and _checksums(path) else ""
        except Exception:  # of GDAL: whatever is wrong with it, it is to be written anew
            return ""


def is_map_of_ours(path: Path) -> bool:
    """Whether segtool wrote a file, whole or not."""
    with _gdal() as rasterio:
        try:
            with rasterio.open(path, driver="GTiff") as file:
                return "SEGTOOL" in file.tags()
        except rasterio.errors.RasterioError:
            return False


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
