"""Grey levels of 16 bits and floating-point ones."""

import warnings

import numpy as np
from numpy.typing import NDArray

from segtool.errors import SegtoolError, SegtoolWarning

_ROWS = 256  # that are converted at a time
_TWELVE_BITS = 1 << 12


def eight_bits(levels: NDArray[np.generic], mode: str) -> NDArray[np.uint8]:
    """Grey levels of more than 8 bits as 8 bits.

    Args:
        levels: [H,W], as PIL reads them: 16 bits as 16- or 32-bit integers, which count 0..65535.
        mode: PIL's of the image.

    Raises:
        SegtoolError: levels that cannot count 0..65535.
    """
    _check_levels(levels, mode)
    if 255 < float(levels.max()) < _TWELVE_BITS:
        what = "images of 16 bits have no level above 4095 of 65535: as pictures they are nearly black"
        warnings.warn(f"{what} (bands: all in classes.yaml trains on numbers as they are)", SegtoolWarning, 2)
    grey = np.empty(levels.shape, np.uint8)
    for top in range(0, len(levels), _ROWS):  # all of them as float64 would take eight times the memory
        rows = levels[top : top + _ROWS].astype(np.float64)
        grey[top : top + _ROWS] = np.clip(np.round(rows / 257.0), 0, 255)
    return grey


def _check_levels(levels: NDArray[np.generic], mode: str) -> None:
    """Refuses grey levels that cannot count 0..65535, of which 8 bits are made."""
    low, high = float(levels.min()), float(levels.max())
    if (mode == "F" and not 255 < high <= 65535) or not 0 <= low <= high <= 65535:
        kind = "floating-point" if mode == "F" else "integer"
        raise SegtoolError(
            f"an image of {kind} levels {low:.6g}..{high:.6g}",
            mend="scale them to 0..255 and save 8 bits, or to 0..65535 and 16 bits; bands: all in classes.yaml takes "
            "numbers as they are",
        )
