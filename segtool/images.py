"""Reading pictures of any kind as RGB bytes."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from segtool import libtiff
from segtool.errors import SegtoolError
from segtool.files import refuse_pipe
from segtool.formats import FORMATS, IMAGE_SUFFIXES, INSTALL_HEIC, holds_heic
from segtool.impostors import impostor
from segtool.levels import eight_bits

RGB = NDArray[np.uint8]
MOST_PIXELS = 100_000_000  # of an image, unless said otherwise: decoded, it takes 1.5 GB at most
LIMIT_VARIABLE = "SEGTOOL_MAX_PIXELS"  # of the environment, so that worker processes have it too
_ROWS = 256  # that are converted at a time
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF's tags
_EXTRA_SAMPLES = 338  # TIFF's tag of what further bands are
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how one begins
_BANDS = "bands: all in classes.yaml, or --set data.bands=all in training, takes all bands as they are"
ORIENTATION = 0x0112  # of EXIF; 1 is upright
TURNS_SIDES = (5, 6, 7, 8)
_BYTES = "the image that was sent"
_counting, _inside = Lock(), 0
_pillows: int | None = None


class NotAnImage(SegtoolError):
    """The bytes are of no format that is read."""


class TooManyPixels(SegtoolError):
    """The image is larger than is allowed."""


def read_image(path: Path | str, max_pixels: int | None = None, shrink: int = 1) -> RGB:
    """Reads a picture as uint8 [H,W,3] RGB.

    Rotated as EXIF says; greyscale is repeated, transparency laid on black, 16 bits scaled to 8. A fourth band that is
    not said to be transparency is left out.

    Args:
        max_pixels: larger pictures are refused before they are decoded; `MOST_PIXELS` when not given, or what the
            variable SEGTOOL_MAX_PIXELS says.
        shrink: 1, 2, 4 or 8: a JPEG is decoded at so many times fewer rows and columns, rounded up, which takes less
            time. Other pictures are read as they are.

    Raises:
        SegtoolError: missing, truncated, too large, not an image, or levels that are neither 0..255 nor 0..65535.
    """
    path = Path(path)
    with _opened(path, path, max_pixels) as image:
        if shrink > 1 and image.format == "JPEG":
            image.draft(None, (max(1, image.width // shrink), max(1, image.height // shrink)))
        return as_rgb(image)


def decode_image(data: bytes, max_pixels: int | None = None) -> RGB:
    """The picture in a file's bytes, as `read_image` reads it.

    Raises:
        NotAnImage: of no format that is read.
        TooManyPixels: larger than `max_pixels`; it is not decoded.
        SegtoolError: truncated or damaged.
    """
    with _opened(io.BytesIO(data), _BYTES, max_pixels) as image:
        return as_rgb(image)


def check_image(data: bytes, max_pixels: int) -> None:
    """Whether the bytes begin as an image of an allowed size does; nothing is decoded.

    Raises:
        NotAnImage, TooManyPixels: as `decode_image`.
    """
    with _opened(io.BytesIO(data), _BYTES, max_pixels):
        pass


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """The picture as it lies in the file, not decoded yet, for as long as the context lasts.

    Raises:
        SegtoolError: missing, truncated or not an image.
    """
    with _opened(path, path) as image:
        yield image


@contextmanager
def _opened(source: Path | BinaryIO, where: object, most: int | None = None) -> Iterator[Image.Image]:
    try:
        with _open(source) as image:
            _check_size(image, where, most)
            yield image
    except FileNotFoundError as error:
        raise SegtoolError("no such file", where=where) from error
    except UnidentifiedImageError as error:
        if holds_heic(_head(source)):
            raise NotAnImage("HEIC is not read here", where=where, mend=f"{INSTALL_HEIC}, or convert it") from error
        if isinstance(source, Path) and (found := impostor(source)) is not None:
            raise NotAnImage(found.what, where=where, mend=found.mend) from error
        if _head(source)[:4] in TIFF_HEADS:
            raise NotAnImage(
                "a TIFF that is no picture of one, three or four bands", where=where, mend=_BANDS
            ) from error
        raise NotAnImage("not an image", where=where, mend="remove it or replace it") from error
    except SegtoolError as error:
        raise error.about(where) from error.__cause__
    except MemoryError as error:
        raise SegtoolError("there is not enough memory for the image", where=where, mend="scale it down") from error
    except Exception as error:  # damaged files make Pillow's decoders raise whatever they stumble over
        raise SegtoolError(f"unreadable image ({error})", where=where, mend="replace it") from error


def _head(source: Path | BinaryIO) -> bytes:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return file.read(12)
    source.seek(0)
    return source.read(12)


def _open(source: Path | BinaryIO) -> Image.Image:
    """The picture, not decoded."""
    if isinstance(source, Path):
        refuse_pipe(source)
    with _our_limit():
        return Image.open(source, formats=FORMATS)


def loaded(image: Image.Image) -> Image.Image:
    """The image, decoded; within `opened_image` what goes wrong becomes a SegtoolError."""
    if image.format != "TIFF":
        image.load()
        return image
    with _our_limit(), libtiff.Watch() as watched:  # Pillow looks at its limit for each tile, too
        image.load()
    if watched.damaged:
        raise OSError("damaged TIFF data")
    return image


@contextmanager
def _our_limit() -> Iterator[None]:
    """Pillow's own limit, the whole program's, is off as long as a thread is in here: ours is looked at instead."""
    global _inside, _pillows
    with _counting:
        if _inside == 0:
            _pillows, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _inside += 1
    try:
        yield
    finally:
        with _counting:
            _inside -= 1
            if _inside == 0:
                Image.MAX_IMAGE_PIXELS = _pillows


def _check_size(image: Image.Image, where: object, most: int | None) -> None:
    width, height = image.size
    if image.format == "TIFF":  # its decoder makes room for a whole tile, however small the image is
        tags = image.tag_v2  # type: ignore[attr-defined]
        width, height = max(width, tags.get(_TILE_WIDTH, 0)), max(height, tags.get(_TILE_LENGTH, 0))
    check_pixels(height, width, where, most)


def check_pixels(height: int, width: int, where: object, most: int | None = None) -> None:
    """Refuses images of more pixels than are allowed, see `read_image`.

    Raises:
        TooManyPixels: it has more.
    """
    allowed = _most_pixels() if most is None else most
    if width * height > allowed:
        what = f"an image of {height}x{width} has more than {allowed / 1e6:.1f} million pixels"
        more = f", or segtool --max-pixels {width * height} ..., or predict --map" if most is None else ""
        raise TooManyPixels(what, where=where, mend=f"scale it down{more}")


def _most_pixels() -> int:
    found = os.environ.get(LIMIT_VARIABLE) or str(MOST_PIXELS)
    if not found.isdigit():
        raise SegtoolError(f"not a number of pixels: {found}", where=LIMIT_VARIABLE, mend=f"such as {MOST_PIXELS}")
    return int(found)


def as_rgb(image: Image.Image, in_place: bool = True) -> RGB:
    """Any PIL image as uint8 [H,W,3] RGB, upright; `in_place` turns the image itself, which saves a copy."""
    loaded(image)  # a PNG may say how it is turned after its pixels
    alpha = has_alpha(image)  # a copy does not know its file any more
    if in_place:
        ImageOps.exif_transpose(image, in_place=True)
    else:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return np.repeat(eight_bits(np.asarray(image), image.mode)[..., None], 3, axis=2)
    if alpha:
        return _on_black(image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)


def _on_black(image: Image.Image) -> RGB:
    """An image with transparency, strip by strip: whole, it would be in memory four times."""
    width, height = image.size
    found = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _ROWS):
        strip = image.crop((0, top, width, min(top + _ROWS, height))).convert("RGBA")
        black = Image.new("RGBA", strip.size, (0, 0, 0, 255))
        found[top : top + _ROWS] = np.asarray(Image.alpha_composite(black, strip).convert("RGB"))
    return found


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) once it is turned as EXIF says."""
    turned = image.getexif().get(ORIENTATION, 1) in TURNS_SIDES
    return (image.width, image.height) if turned else (image.height, image.width)


def has_alpha(image: Image.Image) -> bool:
    """Whether it says of some pixels that they are transparent."""
    if image.mode in ("RGBA", "RGBa") and image.format == "TIFF":
        # Pillow takes a fourth band for transparency where the file does not say what it is.
        return _EXTRA_SAMPLES in image.tag_v2  # type: ignore[attr-defined]
    return image.mode in ("RGBA", "RGBa", "LA", "PA") or (image.mode == "P" and "transparency" in image.info)


def list_images(folder: Path) -> list[Path]:
    """The images directly in a folder, sorted by name: those of a dataset. `segtool.sources.find` looks below, too.

    Raises:
        SegtoolError: no such folder.
    """
    if not folder.is_dir():
        raise SegtoolError("no such folder", where=folder)
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
