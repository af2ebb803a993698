"""Label maps as pictures, and pictures as files."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from segtool.errors import SegtoolError
from segtool.files import atomic_path, write_bytes
from segtool.images import RGB, opened_image

_QUALITY = 92  # of formats that lose something, 0..100
_ROWS = 512  # that are drawn at a time
_NOTE = "segtool"  # keyword of a text in a PNG


def colorize(labels: NDArray[np.uint8], colors: list[tuple[int, int, int]]) -> RGB:
    """Label map [H,W] to RGB [H,W,3]; ids without a colour (void) are black."""
    return np.array(as_palette_image(labels, colors).convert("RGB"))


def overlay(image: RGB, labels: NDArray[np.uint8], colors: list[tuple[int, int, int]], opacity: float = 0.55) -> RGB:
    """The image with its label map laid over it."""
    return np.array(blended(image, labels, colors, opacity))


def blended(
    image: RGB, labels: NDArray[np.uint8], colors: list[tuple[int, int, int]], opacity: float = 0.55
) -> Image.Image:
    """The same as a picture of Pillow's."""
    # By Pillow: no arrays of floating-point numbers, which took seven to ten times as long. In strips:
    # two more pictures of a whole map would take much memory.
    mixed = Image.new("RGB", (image.shape[1], image.shape[0]))
    for start in range(0, len(image), _ROWS):
        strip = slice(start, start + _ROWS)
        colored = as_palette_image(labels[strip], colors).convert("RGB")
        mixed.paste(Image.blend(Image.fromarray(image[strip]), colored, opacity), (0, start))
    return mixed


def save_label_map(path: Path, labels: NDArray[np.uint8], colors: list[tuple[int, int, int]], note: str = "") -> None:
    """Saves class ids [H,W] as a palette PNG.

    Args:
        note: text that is kept in the file, for `label_map_note`.
    """
    about = PngInfo()
    if note:
        about.add_text(_NOTE, note)
    with atomic_path(path) as temporary:
        as_palette_image(labels, colors).save(temporary, pnginfo=about)


def label_map_note(path: Path) -> str:
    """The note of a label map that is whole; empty where there is none.

    Raises:
        SegtoolError: missing, or not whole.
    """
    with opened_image(path) as image:
        image.load()
        return str(image.info.get(_NOTE, ""))


def as_palette_image(labels: NDArray[np.uint8], colors: list[tuple[int, int, int]]) -> Image.Image:
    """Class ids [H,W] with a palette: ids for programs, colours for people."""
    image = Image.fromarray(labels)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = np.array(colors, np.uint8).reshape(-1, 3)
    image.putpalette(palette.tobytes())
    return image


def png_bytes(image: Image.Image) -> bytes:
    """The picture as a PNG file; of a mask, fast and nearly as small as can be."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def save_image(path: Path, image: RGB | Image.Image) -> None:
    """Saves RGB [H,W,3], or a picture of Pillow's, in the format that the suffix names."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    content = io.BytesIO()
    if (form := Image.registered_extensions().get(path.suffix.lower())) is None:
        raise SegtoolError("no format of pictures", where=path, mend="a name that ends in .png or .jpg")
    picture.save(content, form, quality=_QUALITY)
    write_bytes(path, content.getbuffer())


def scaled_to_width(image: RGB, width: int) -> RGB:
    """The picture at another width, its proportions kept."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def resized(image: NDArray[np.uint8], height: int, width: int, *, labels: bool = False) -> NDArray[np.uint8]:
    """A picture [H,W,3], bilinear, or labels [H,W], which are not mixed, at another size."""
    how = Image.Resampling.NEAREST if labels else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(image).resize((width, height), how))


def smooth_noise(height: int, width: int, seed: int = 0) -> RGB:
    """Squares of random colours [H,W,3], to run a model on.

    Plain noise would give every pixel lattice vertices of its own, as no photo does.
    """
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    return coarse.repeat(16, 0).repeat(16, 1)[:height, :width].copy()


def data_uri(image: Image.Image, form: str = "PNG", **options: Any) -> str:
    """The picture as a `data:` address, so that a page needs no file beside it.

    Args:
        form: PNG, JPEG or another that Pillow writes; `options` are Pillow's for it.
    """
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
