"""Reading bands of image files with their numbers as they are."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.errors import SegtoolError
from segtool.files import refuse_pipe
from segtool.gdal import driver_of, gdal, not_read, window_of
from segtool.images import check_pixels

Source = Path | bytes
Part = tuple[slice, slice]  # rows, columns
SENT = "the image that was sent"
_UPRIGHT = "1"


class Raster(NamedTuple):
    """What a file holds.

    Attributes:
        values: uint8, uint16 or float32 [H,W,B]; integers of other kinds are floating-point numbers, infinite ones NaN.
        missing: where there is no data, [H,W]; None if the file does not say so of any pixel.
        nodata: the number that the file has where there is none.
    """

    values: NDArray[Any]
    missing: NDArray[np.bool_] | None
    nodata: float | None


def read_raster(source: Source, bands: Sequence[int] = (), most: int | None = None, part: Part | None = None) -> Raster:
    """Reads bands of a TIFF, JPEG or PNG. The pages of a TIFF follow each other as its bands do.

    Args:
        source: a path, or a file's bytes.
        bands: counted from 1, in any order; all but transparency when not given.
        most: pixels; larger images are refused before they are decoded, see `segtool.images.read_image`.
        part: rows and columns, if not all are wanted.

    Raises:
        SegtoolError: rasterio is missing; missing, damaged, too large, turned by EXIF, a palette, complex numbers,
            pages of several sizes, or a band that is not there.
    """
    where = source if isinstance(source, Path) else SENT
    with _opened(source) as pages:
        first = pages[0]
        rows, columns = part or (slice(0, first.height), slice(0, first.width))
        height, width = rows.stop - rows.start, columns.stop - columns.start
        check_pixels(height, width, where, most)
        _check(pages, where)
        places = [(page, band) for page in pages for band in page.indexes]
        chosen = _chosen(places, bands, where)
        values = np.empty((height, width, len(chosen)), kind_of(first.dtypes[0]))
        for channel, number in enumerate(chosen):
            _read_band(*places[number - 1], (rows, columns), values[..., channel], number, where)
        if values.dtype == np.float32:
            values = without_gaps(values, first.nodata)
        return Raster(values, _missing(first, (rows, columns), values, where), first.nodata)


def check_raster(data: bytes, most: int) -> None:
    """Whether the bytes begin as an image of at most `most` pixels does; nothing is decoded.

    Raises:
        NotAnImage, TooManyPixels: they do not.
    """
    with _opened(data) as pages:
        check_pixels(pages[0].height, pages[0].width, SENT, most)


def raster_about(path: Path) -> tuple[int, float | None]:
    """How many pixels an image has, and the number that stands for no data."""
    with _opened(path) as pages:
        return pages[0].height * pages[0].width, pages[0].nodata


@contextmanager
def _opened(source: Source) -> Iterator[list[Any]]:
    """The pages of a file as rasterio's datasets."""
    where = source if isinstance(source, Path) else SENT
    if isinstance(source, Path):
        refuse_pipe(source)
    with gdal() as rasterio, ExitStack() as stack:
        driver = driver_of(_head(source), where)
        try:
            place = (
                source.resolve() if isinstance(source, Path) else stack.enter_context(rasterio.MemoryFile(source)).name
            )
            first = stack.enter_context(rasterio.open(place, driver=driver))
            pages = [stack.enter_context(rasterio.open(name, driver=driver)) for name in first.subdatasets]
        except rasterio.errors.RasterioError as error:
            raise not_read(where) from error
        yield pages or [first]


def _head(source: Source) -> bytes:
    if isinstance(source, bytes):
        return source[:4]
    try:
        with source.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise SegtoolError("cannot read the file", where=source, mend=error.strerror) from error


def _check(pages: Sequence[Any], where: object) -> None:
    first = pages[0]
    if any(page.shape != first.shape or page.dtypes[0] != first.dtypes[0] for page in pages):
        sizes = ", ".join(dict.fromkeys(f"{page.height}x{page.width}" for page in pages))
        raise SegtoolError(
            f"{len(pages)} pages of several sizes or kinds, {sizes}", where=where, mend="save one of them"
        )
    if first.colorinterp[0].name == "palette":
        raise SegtoolError("an image with a palette has no bands", where=where, mend="save it as grey or RGB")
    if first.tags().get("EXIF_Orientation", _UPRIGHT) != _UPRIGHT:
        raise SegtoolError("an image that EXIF turns", where=where, mend="turn it")
    if kind_of(first.dtypes[0]) is None:
        raise SegtoolError(f"numbers of the kind {first.dtypes[0]}", where=where, mend="save real ones")


def kind_of(dtype: str) -> Any:
    """As what numbers are read; None for those that are not real."""
    if dtype in ("uint8", "uint16"):
        return np.dtype(dtype)
    return None if "complex" in dtype else np.dtype(np.float32)


def _chosen(places: Sequence[tuple[Any, int]], bands: Sequence[int], where: object) -> Sequence[int]:
    for band in bands:
        if not 1 <= band <= len(places):
            have = "one band" if len(places) == 1 else f"the bands 1..{len(places)}"
            raise SegtoolError(f"there is no band {band}", where=where, mend=f"the file has {have}")
    seen = [n for n, (page, band) in enumerate(places, 1) if page.colorinterp[band - 1].name != "alpha"]
    return bands or seen or [1]


def _read_band(page: Any, band: int, part: Part, out: NDArray[Any], number: int, where: object) -> None:
    # Read at once, a cut PNG gives whatever was in memory, and no error.
    rows, columns = part
    halves = 2 if page.driver == "PNG" and len(out) > 1 else 1
    edges = [rows.start + len(out) * half // halves for half in range(halves + 1)]
    for top, bottom in pairwise(edges):
        try:
            window = (top, bottom), (columns.start, columns.stop)
            out[top - rows.start : bottom - rows.start] = page.read(band, window=window)
        except Exception as error:  # of rasterio, whose decoders raise more than it documents
            raise SegtoolError(f"band {number} cannot be read", where=where, mend="replace the file") from error


def without_gaps(values: NDArray[np.float32], nodata: float | None) -> NDArray[np.float32]:
    """The same numbers, changed in place, with NaN where there are none: where they are infinite, or `nodata`."""
    values[~np.isfinite(values)] = np.nan
    if nodata is not None:
        values[values == np.float32(nodata)] = np.nan
    return values


def _missing(page: Any, part: Part, values: NDArray[Any], where: object) -> NDArray[np.bool_] | None:
    if values.dtype == np.float32:
        found: NDArray[np.bool_] = np.isnan(values).all(2)
    elif page.nodata is not None:
        found = (values == page.nodata).all(2)
    elif any("all_valid" not in [flag.name for flag in flags] for flags in page.mask_flag_enums):
        try:
            found = page.dataset_mask(window=window_of(*part)) == 0
        except Exception as error:  # as above
            raise SegtoolError("the mask in the file cannot be read", where=where, mend="replace it") from error
    else:
        return None
    return found if found.any() else None


def parted_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a TIFF, of which parts can be read without decoding all; None for other files."""
    with _opened(path) as pages:
        return (pages[0].height, pages[0].width) if pages[0].driver == "GTiff" else None


def ids_in_part(path: Path, part: Part) -> NDArray[Any] | None:
    """The values of a mask's part, uint8 or uint16 [h,w]; None if it is no TIFF of whole bytes in one band, or rasterio
    is not installed."""
    if not is_tiff(path) or find_spec("rasterio") is None:
        return None
    with _opened(path) as pages:
        page = pages[0]
        if len(pages) > 1 or page.count > 1 or kind_of(page.dtypes[0]) == np.float32 or not _is_plain(page):
            return None
        found = np.empty(tuple(side.stop - side.start for side in part), page.dtypes[0])
        _read_band(page, 1, part, found, 1, path)
        return found


def levels_in_part(path: Path, part: Part) -> NDArray[np.uint8] | None:
    """A picture's part, uint8 [h,w,3]; None if the file is not as plain as that both libraries read it alike."""
    with _opened(path) as pages:
        page = pages[0]
        if not _is_picture(pages):
            return None
        found = np.empty((*(side.stop - side.start for side in part), page.count), np.uint8)
        for band in page.indexes:
            _read_band(page, band, part, found[..., band - 1], band, path)
        return np.ascontiguousarray(np.broadcast_to(found, (*found.shape[:2], 3)))


def picture_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a picture that `levels_in_part` reads; None for others."""
    if not is_tiff(path) or find_spec("rasterio") is None:
        return None
    with _opened(path) as pages:
        return (pages[0].height, pages[0].width) if _is_picture(pages) else None


def is_tiff(path: Path) -> bool:
    """Whether a file begins as a TIFF."""
    try:
        return driver_of(_head(path), path) == "GTiff"
    except SegtoolError:
        return False


def _is_picture(pages: Sequence[Any]) -> bool:
    page = pages[0]
    known = [band.name for band in page.colorinterp] in (["gray"], ["red", "green", "blue"])
    return known and set(page.dtypes) == {"uint8"} and _is_plain(page)


def _is_plain(page: Any) -> bool:
    """Whole bytes, 0 is black, nothing that loses, nothing that turns."""
    about = page.tags(ns="IMAGE_STRUCTURE") | page.tags(1, ns="IMAGE_STRUCTURE")
    lossless = page.compression is None or page.compression.name not in ("jpeg", "webp", "lerc", "jxl", "jpeg2000")
    upright = page.tags().get("EXIF_Orientation", _UPRIGHT) == _UPRIGHT
    return lossless and upright and "NBITS" not in about and about.get("MINISWHITE") != "YES"
