"""What may be given to a model as an image."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segtool.errors import SegtoolError
from segtool.images import RGB, as_rgb
from segtool.input_contract import InputContract
from segtool.readers import reader_of

ImageLike = NDArray[Any] | Image.Image | str | os.PathLike[str] | Any
PICTURES = InputContract()


def as_image(image: ImageLike, contract: InputContract = PICTURES) -> NDArray[Any]:
    """The image as an array; a file is read and a PIL image converted as `segtool.readers` do.

    Args:
        image: [H,W,B] of NumPy or another library in the host's memory, or the path of a file; where the model takes
            pictures also a PIL image, and where it takes one channel [H,W].
        contract: what the model takes.

    Raises:
        SegtoolError: anything else, or a file that cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        return reader_of(contract).open(Path(image)).values
    if isinstance(image, Image.Image) and contract.bands is None:
        return _converted(image)
    if not hasattr(image, "__array__") or isinstance(image, Image.Image):
        taken = f"give {contract.said}{' RGB, a PIL image' if contract.bands is None else ''} or a path"
        raise SegtoolError("not an image", where=type(image).__name__, mend=taken)
    try:
        array = np.asarray(image)
    except Exception as error:  # of the array's library: it may be on a device
        raise SegtoolError(f"not an array in the host's memory ({error})", where=type(image).__name__) from error
    if contract.channels == 1 and array.ndim == 2:
        array = array[..., None]
    if str(array.dtype) != contract.kind or array.ndim != 3 or array.shape[2] != contract.channels or 0 in array.shape:
        mend = "model.batch takes several" if array.ndim == 4 else None
        raise SegtoolError(f"an image must be {contract.said}", where=f"{array.dtype} {list(array.shape)}", mend=mend)
    return array


def _converted(image: Image.Image) -> RGB:
    try:
        return as_rgb(image, in_place=False)
    except SegtoolError as error:
        raise error.about(type(image).__name__) from error
    except Exception as error:  # Pillow decodes only now, and raises whatever it stumbles over
        raise SegtoolError(f"unreadable image ({error})", where=type(image).__name__, mend="replace it") from error


def as_images(images: Iterable[ImageLike], contract: InputContract = PICTURES) -> list[NDArray[Any]]:
    """Several images, each as `as_image` takes it; an array [N,H,W,B] is N of them.

    Raises:
        SegtoolError: one image, or anything else.
    """
    alone = isinstance(images, str | os.PathLike | Image.Image) or getattr(images, "ndim", 4) == 3
    if alone or not isinstance(images, Iterable):
        raise SegtoolError(
            "a batch is several images", where=type(images).__name__, mend="give a list of them, or call model(image)"
        )
    return [as_image(image, contract) for image in images]
