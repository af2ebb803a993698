"""Files of which parts can be read without decoding all, and what a file holds."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.errors import SegtoolError
from segtool.gaps import is_alpha
from segtool.images import TIFF_HEADS
from segtool.rasters import Part, RasterFile, head_of, kind_of, opened_raster, read_band


def parted_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a TIFF, of which parts can be read without decoding all; None for other files."""
    with opened_raster(path) as file:
        return (file.first.height, file.first.width) if file.first.driver == "GTiff" else None


def ids_in_part(path: Path, part: Part) -> NDArray[Any] | None:
    """The values of a mask's part, uint8 or uint16 [h,w]; None if it is no TIFF of whole bytes in one band, or rasterio
    is not installed."""
    if not is_tiff(path) or find_spec("rasterio") is None:
        return None
    with opened_raster(path) as file:
        page = file.first
        if file.pages > 1 or page.count > 1 or kind_of(page.dtypes[0]) == np.float32 or not _is_plain(file):
            return None
        found = np.empty(tuple(side.stop - side.start for side in part), page.dtypes[0])
        read_band(page, 1, part, found, 1, path)
        return found


def levels_in_part(path: Path, part: Part) -> NDArray[np.uint8] | None:
    """A picture's part, uint8 [h,w,3]; None if the file is not as plain as that both libraries read it alike."""
    with opened_raster(path) as file:
        page = file.first
        if not _is_picture(file):
            return None
        found = np.empty((*(side.stop - side.start for side in part), page.count), np.uint8)
        for band in page.indexes:
            read_band(page, band, part, found[..., band - 1], band, path)
        return np.ascontiguousarray(np.broadcast_to(found, (*found.shape[:2], 3)))


def picture_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a picture that `levels_in_part` reads; None for others."""
    if not is_tiff(path) or find_spec("rasterio") is None:
        return None
    with opened_raster(path) as file:
        return (file.first.height, file.first.width) if _is_picture(file) else None


def is_tiff(path: Path) -> bool:
    """Whether a file begins as a TIFF."""
    return head_of(path) in TIFF_HEADS


def _is_picture(file: RasterFile) -> bool:
    page = file.first
    known = [band.name for band in page.colorinterp] in (["gray"], ["red", "green", "blue"])
    masked = any(flag.name == "per_dataset" for flags in page.mask_flag_enums for flag in flags)
    return known and not masked and set(page.dtypes) == {"uint8"} and _is_plain(file)


def _is_plain(file: RasterFile) -> bool:
    """Whole bytes, 0 is black, nothing that loses, nothing that turns."""
    page = file.first
    about = page.tags(ns="IMAGE_STRUCTURE") | page.tags(1, ns="IMAGE_STRUCTURE")
    lossless = page.compression is None or page.compression.name not in ("jpeg", "webp", "lerc", "jxl", "jpeg2000")
    return lossless and file.turn == 1 and "NBITS" not in about and about.get("MINISWHITE") != "YES"


def no_picture(path: Path) -> str | None:
    """What an image file holds, in words, if it is no picture of 8 bits; None for pictures, and where rasterio is not
    installed."""
    if find_spec("rasterio") is None:
        return None
    try:
        with opened_raster(path) as file:
            first, count = file.first, file.first.count * file.pages
            usual = first.dtypes[0] == "uint8" and (
                count in (1, 3) or (count in (2, 4) and is_alpha(first, first.count))
            )
            return None if usual else f"images of {count} band{'s' * (count > 1)} of {first.dtypes[0]}"
    except SegtoolError:
        return None
