"""Reading bands of image files with their numbers as they are."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from segtool.errors import SegtoolError
from segtool.files import refuse_pipe
from segtool.gaps import is_alpha, missing_in
from segtool.gdal import driver_of, gdal, not_read
from segtool.images import ORIENTATION, TIFF_HEADS, TooManyPixels, check_pixels
from segtool.input_contract import MOST_BANDS

Source = Path | bytes
Part = tuple[slice, slice]  # rows, columns
SENT = "the image that was sent"
_BYTES = 12  # for each pixel that is allowed


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


class About(NamedTuple):
    """What a file says of itself.

    Attributes:
        height, width: pixels.
        nodata: the number that stands for no data.
        alpha: the band that is transparency, counted from 1.
    """

    height: int
    width: int
    nodata: float | None
    alpha: int | None


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
    with opened_raster(source) as file:
        first = file.first
        rows, columns = part or (slice(0, first.height), slice(0, first.width))
        height, width = rows.stop - rows.start, columns.stop - columns.start
        chosen = _chosen(file, bands, where)
        _check_room(file, height, width, len(chosen), where, most)
        pages = {number: file.page((number - 1) // first.count) for number in chosen}
        _check(file, [first, *pages.values()], where)
        values = np.empty((height, width, len(chosen)), kind_of(first.dtypes[0]))
        for channel, number in enumerate(chosen):
            within = (number - 1) % first.count + 1
            read_band(pages[number], within, (rows, columns), values[..., channel], number, where)
        missing = missing_in(first, (rows, columns), values, chosen, where)
        return Raster(values, missing, first.nodata)


def check_raster(data: bytes, most: int) -> None:
    """Whether the bytes begin as an image of at most `most` pixels does; nothing is decoded.

    Raises:
        NotAnImage, TooManyPixels: they do not.
    """
    with opened_raster(data) as file:
        _check_room(file, file.first.height, file.first.width, 1, SENT, most)


def raster_about(path: Path) -> About:
    """What a file says of itself; nothing is decoded."""
    with opened_raster(path) as file:
        first = file.first
        alpha = next((band for band in first.indexes if is_alpha(first, band)), None)
        return About(first.height, first.width, first.nodata, alpha)


class RasterFile:
    """An open file: its first page, and others when they are asked for."""

    def __init__(self, open_page: Callable[[str], Any], first: Any, turn: int) -> None:
        self.first, self.turn, self._open = first, turn, open_page
        self._names: Sequence[str] = first.subdatasets

    @property
    def pages(self) -> int:
        """How many there are."""
        return max(1, len(self._names))

    def page(self, number: int) -> Any:
        """Page `number`, counted from 0. GDAL comes to a page by all before it."""
        return self.first if number == 0 else self._open(self._names[number])


@contextmanager
def opened_raster(source: Source) -> Iterator[RasterFile]:
    """A file, open as long as the context lasts.

    Raises:
        SegtoolError: rasterio is missing, or no image that it reads.
    """
    where = source if isinstance(source, Path) else SENT
    if isinstance(source, Path):
        refuse_pipe(source)
    with gdal() as rasterio, ExitStack() as stack:
        driver = driver_of(head_of(source), where)

        @cache
        def open_page(name: str | Path) -> Any:
            try:
                return stack.enter_context(rasterio.open(name, driver=driver))
            except rasterio.errors.RasterioError as error:
                raise not_read(where) from error

        place = _place(source, rasterio, stack)
        yield RasterFile(open_page, open_page(place), turn_of(source))


def _place(source: Source, rasterio: Any, stack: ExitStack) -> str | Path:
    """What GDAL opens: a whole path, whose name it cannot take for anything else, or a file in memory."""
    if isinstance(source, Path):
        return source.resolve()
    name: str = stack.enter_context(rasterio.MemoryFile(source)).name
    return name


def head_of(source: Source) -> bytes:
    """The four bytes by which a format is known."""
    if isinstance(source, bytes):
        return source[:4]
    try:
        with source.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise SegtoolError("cannot read the file", where=source, mend=error.strerror) from error


def turn_of(source: Source) -> int:
    """How EXIF, or a TIFF's own tag, turns an image; 1 for upright. GDAL does not say it of every format."""
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        try:
            if (head := file.read(16))[:4] in TIFF_HEADS:
                tags = TiffImagePlugin.ImageFileDirectory_v2(head[: 16 if head[2] == 43 else 8])
                file.seek(tags.next)
                tags.load(file)
                return int(tags.get(ORIENTATION, 1))
            file.seek(0)
            with Image.open(file, formats=("JPEG", "PNG")) as image:
                return int(image.getexif().get(ORIENTATION, 1))
        except Exception:  # whatever Pillow stumbles over; what is damaged is found when it is read
            return 1


def _check_room(file: RasterFile, height: int, width: int, bands: int, where: object, most: int | None) -> None:
    """Refuses what would take too much memory; a whole block is decoded for each pixel of it."""
    first = file.first
    block_height, block_width = first.block_shapes[0]
    check_pixels(max(height, block_height), max(width, block_width), where, most)
    size = height * width * bands * np.dtype(first.dtypes[0]).itemsize
    if most is not None and size > _BYTES * most:
        what = f"{bands} bands of {first.dtypes[0]}, {height}x{width}, take {size / 1e6:.0f} MB"
        raise TooManyPixels(what, where=where, mend="scale it down, or send a part")


def _check(file: RasterFile, pages: Sequence[Any], where: object) -> None:
    first = file.first
    if any(page.shape != first.shape or page.dtypes[0] != first.dtypes[0] for page in pages):
        sizes = ", ".join(dict.fromkeys(f"{page.height}x{page.width}" for page in pages))
        what = f"{file.pages} pages of several sizes or kinds, {sizes}"
        raise SegtoolError(what, where=where, mend="save one of them")
    if first.colorinterp[0].name == "palette":
        raise SegtoolError("an image with a palette has no bands", where=where, mend="save it as grey or RGB")
    if file.turn != 1:
        raise SegtoolError("an image that EXIF turns", where=where, mend="turn it")
    if kind_of(first.dtypes[0]) is None:
        raise SegtoolError(f"numbers of the kind {first.dtypes[0]}", where=where, mend="save real ones")


def kind_of(dtype: str) -> Any:
    """As what numbers are read; None for those that are not real."""
    if dtype in ("uint8", "uint16"):
        return np.dtype(dtype)
    return None if "complex" in dtype else np.dtype(np.float32)


def _chosen(file: RasterFile, bands: Sequence[int], where: object) -> Sequence[int]:
    count = file.first.count * file.pages
    for band in bands:
        if not 1 <= band <= count:
            have = "one band" if count == 1 else f"the bands 1..{count}"
            raise SegtoolError(f"there is no band {band}", where=where, mend=f"the file has {have}")
    if bands:
        return bands
    if count > MOST_BANDS + 1:
        mend = f"choose {MOST_BANDS} of them at most, such as bands: [1, 2, 3]"
        raise SegtoolError(f"a file of {count} bands", where=where, mend=mend)
    seen = [n for n in range(1, count + 1) if file.pages > 1 or not is_alpha(file.first, n)]
    return seen or [1]


def read_band(page: Any, band: int, part: Part, out: NDArray[Any], number: int, where: object) -> None:
    """Reads a part of a band into `out` [h,w]; `number` is what errors call it."""
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
