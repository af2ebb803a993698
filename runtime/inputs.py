"""What may be given to a model as an image."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segtool.errors import SegtoolError
from segtool.images import RGB, as_rgb, read_image

ImageLike = RGB | Image.Image | str | os.PathLike[str] | Any
_TAKEN = "give uint8 [H,W,3] RGB, a PIL image or a path"


def as_image(image: ImageLike) -> RGB:
    """The image as an array; a file is read and a PIL image converted as `segtool.images.read_image` does.

    Args:
        image: uint8 [H,W,3] of NumPy or another library in the host's memory, a PIL image, or the path of a file.

    Raises:
        SegtoolError: anything else, or a file that cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return _converted(image)
    if not hasattr(image, "__array__"):
        raise SegtoolError("not an image", where=type(image).__name__, mend=_TAKEN)
    try:
        array = np.asarray(image)
    except Exception as error:  # of the array's library: it may be on a device
        raise SegtoolError(f"not an array in the host's memory ({error})", where=type(image).__name__) from error
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        mend = "model.batch takes several" if array.ndim == 4 else None
        raise SegtoolError("an image must be uint8 [H,W,3]", where=f"{array.dtype} {list(array.shape)}", mend=mend)
    return array


def _converted(image: Image.Image) -> RGB:
    try:
        return as_rgb(image, in_place=False)
    except SegtoolError as error:
        raise error.about(type(image).__name__) from error
    except Exception as error:  # Pillow decodes only now, and raises whatever it stumbles over
        raise SegtoolError(f"unreadable image ({error})", where=type(image).__name__, mend="replace it") from error


def as_images(images: Iterable[ImageLike]) -> list[RGB]:
    """Several images, each as `as_image` takes it; an array [N,H,W,3] is N of them.

    Raises:
        SegtoolError: one image, or anything else.
    """
    alone = isinstance(images, str | os.PathLike | Image.Image) or getattr(images, "ndim", 4) == 3
    if alone or not isinstance(images, Iterable):
        raise SegtoolError(
            "a batch is several images", where=type(images).__name__, mend="give a list of them, or call model(image)"
        )
    return [as_image(image) for image in images]
