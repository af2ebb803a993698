"""Where image files say that there are no data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.errors import SegtoolError
from segtool.gdal import window_of


def is_alpha(page: Any, band: int) -> bool:
    """Whether a band is said to be transparency."""
    return bool(page.colorinterp[band - 1].name == "alpha")


def missing_in(
    page: Any, part: tuple[slice, slice], values: NDArray[Any], bands: Sequence[int], where: object
) -> NDArray[np.bool_] | None:
    """Where a part of a file has no data in any of the bands that were read, [h,w]; None if it has some everywhere.

    Floating-point numbers that are none become NaN, in place.

    Args:
        values: [h,w,B], as they are in the file.
        bands: their numbers; transparency that is one of them is no mask.
    """
    if values.dtype == np.float32:
        without_gaps(values, page.nodata)
        found = np.asarray(np.isnan(values).all(2))
    elif page.nodata is not None:
        found = np.asarray((values == page.nodata).all(2))
    else:
        found = np.zeros(values.shape[:2], np.bool_)
    flags = {flag.name for flags in page.mask_flag_enums for flag in flags}
    used = any(is_alpha(page, band) for band in bands if band <= page.count)
    if flags & {"per_dataset", "alpha"} and not ("alpha" in flags and used):
        try:
            found |= page.dataset_mask(window=window_of(*part)) == 0
        except Exception as error:  # GDAL raises errors of many kinds
            raise SegtoolError("the mask in the file cannot be read", where=where, mend="replace it") from error
        if values.dtype == np.float32:
            values[found] = np.nan
    return found if found.any() else None


def without_gaps(values: NDArray[np.float32], nodata: float | None) -> NDArray[np.float32]:
    """The same numbers, changed in place, with NaN where there are none: where they are infinite, or `nodata`."""
    values[~np.isfinite(values)] = np.nan
    if nodata is not None:
        values[values == np.float32(nodata)] = np.nan
    return values
