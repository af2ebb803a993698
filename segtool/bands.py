"""Bands as pictures, and pictures as bands."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.images import RGB
from segtool.input_contract import InputContract, Three

Image = NDArray[Any]  # [H,W,B]
SHOWN_SHARES = (1.0, 99.0)  # percentiles of the numbers that are drawn black and white
_ROWS = 256  # that are converted at a time
_SAMPLED = 1 << 16  # pixels from which percentiles of one image are taken


def levels(image: Image, contract: InputContract, channels: Three) -> NDArray[np.float32]:
    """Three channels of an image as levels 0..255, float32 [H,W,3]; 0 where there is no number."""
    chosen = [channel - 1 for channel in channels]
    low, high = (np.asarray(limit, np.float32)[chosen] for limit in (contract.low, contract.high))
    found = (image[..., chosen].astype(np.float32) - low) * (np.float32(255) / (high - low))
    return np.nan_to_num(np.clip(found, 0, 255, out=found), copy=False)


def guide(image: Image, contract: InputContract) -> NDArray[np.float32]:
    """What the colour kernel of the dense CRF sees, float32 [H,W,3]: as `segtool.train.networks.Segmenter` has it, with
    the mean where there are no data."""
    if contract.bands is None:
        return image.astype(np.float32)
    filled, mean = image.astype(np.float32), np.asarray(contract.mean, np.float32)
    if contract.kind == "float32":
        filled = np.where(np.isnan(filled), mean, filled)
    elif contract.nodata is not None:
        filled = np.where(image == contract.nodata, mean, filled)
    return levels(filled, contract, contract.guide)


def picture(image: Image, contract: InputContract) -> RGB:
    """An image as it is shown, uint8 [H,W,3]."""
    if contract.bands is None:
        return image
    found = np.empty((*image.shape[:2], 3), np.uint8)
    for top in range(0, len(image), _ROWS):
        found[top : top + _ROWS] = np.round(levels(image[top : top + _ROWS], contract, contract.shown))
    return found


def usual_channels(count: int) -> Three:
    """The channels that are shown of so many, unless something else is said: the first three, or the first alone."""
    return (1, 2, 3) if count >= 3 else (1, 1, 1)


def own_picture(image: Image) -> RGB:
    """An image of which nothing is known, stretched by its own percentiles; one of 8 bits as it is."""
    count = image.shape[2]
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image[..., [c - 1 for c in usual_channels(count)]])
    low, high = limits(sampled(image, _SAMPLED))
    about = {"bands": tuple(range(1, count + 1)), "kind": str(image.dtype), "low": tuple(low), "high": tuple(high)}
    shown = usual_channels(count)
    mean, std = (0.0,) * count, (1.0,) * count
    return picture(image, InputContract(mean=mean, std=std, shown=shown, guide=shown, **about))  # type: ignore[arg-type]


def limits(numbers: NDArray[Any]) -> tuple[list[float], list[float]]:
    """What is drawn black and white of numbers [P,B], NaN for none: two numbers for each channel, low below high."""
    low, high = [], []
    for channel in numbers.T:
        known = channel[np.isfinite(channel)]
        a, b = np.percentile(known, SHOWN_SHARES) if known.size else (0.0, 1.0)
        low.append(float(a))
        high.append(float(b) if np.float32(b) > np.float32(a) else float(a) + max(1.0, abs(float(a)) / 1000))
    return low, high


def sampled(image: Image, most: int) -> Image:
    """At most so many pixels of an image, [P,B], evenly spread."""
    flat = image.reshape(-1, image.shape[2])
    # A step that has no factor in common with the width, so that all columns are seen.
    step = max(1, -(-len(flat) // most))
    while step > 1 and np.gcd(step, image.shape[1]) > 1:
        step += 1
    return flat[::step]


def missing(image: Image, contract: InputContract) -> NDArray[np.bool_] | None:
    """Where an image has no data, [H,W]; None if there are some everywhere."""
    if contract.kind == "float32":
        found = np.asarray(np.isnan(image).all(2))
    elif contract.nodata is None:
        return None
    else:
        found = np.asarray((image == contract.nodata).all(2))
    return found if found.any() else None


def from_picture(pixels: RGB, contract: InputContract) -> Image:
    """A picture as an image that a model takes: something to run it on, where there are no images of its kind."""
    if contract.bands is None:
        return pixels
    low, high = np.asarray(contract.low, np.float32), np.asarray(contract.high, np.float32)
    channels = [channel % 3 for channel in range(contract.channels)]
    found = low + pixels[..., channels].astype(np.float32) / 255 * (high - low)
    return found if contract.kind == "float32" else np.round(found).astype(contract.kind)
