"""Many images at once: a zip in, a zip out."""

import csv
import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from segtool.card import ModelCard
from segtool.errors import SegtoolError
from segtool.images import IMAGE_SUFFIXES, RGB, as_palette_image, decode_image, overlay, png_bytes
from segtool.prediction import Prediction

MAX_IMAGES = 500
MAX_UNPACKED = 512 * 2**20  # bytes of all images together

# What zipfile raises for what it cannot unpack: NotImplementedError for odd packing, RuntimeError for a password.
_DAMAGED = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)

Predict = Callable[[RGB], Prediction]


def segment_archive(
    path: Path,
    predict: Predict,
    card: ModelCard,
    max_pixels: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bytes:
    """Segments the images in a zip file.

    Args:
        max_pixels: of an image.
        progress: called with the numbers of images that are finished and that there are.

    Returns:
        A zip file with masks/NAME.png (class ids with a palette) and overlays/NAME.jpg for each image, and index.csv:
        name, width, height, the share of each class, or what is wrong with the image.

    Raises:
        SegtoolError: not a zip file, no images in it, too many or too large ones.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGED as error:
        raise SegtoolError("not a zip file that can be read", mend="pack the images again") from error
    result, rows = io.BytesIO(), []
    with archive, zipfile.ZipFile(result, "w") as out:
        entries = _images(archive)
        for done, entry in enumerate(entries):
            progress(done, len(entries))
            rows.append(_segment(archive, entry, out, predict, card, max_pixels))
        out.writestr("index.csv", _table(rows, card))
    return result.getvalue()


def _images(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    entries = [
        entry
        for entry in archive.infolist()
        if not entry.is_dir()
        and PurePosixPath(entry.filename).suffix.lower() in IMAGE_SUFFIXES
        and not any(_is_hidden(part) for part in PurePosixPath(entry.filename).parts)
    ]
    if not entries:
        raise SegtoolError("there are no images in the zip file")
    if len(entries) > MAX_IMAGES:
        raise SegtoolError(f"more than {MAX_IMAGES} images", mend="segtool predict takes any number")
    # What the file says of itself is checked again as each is read.
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED:
        raise SegtoolError(f"more than {MAX_UNPACKED >> 20} MiB of images", mend="segtool predict takes any number")
    return entries


def _is_hidden(part: str) -> bool:
    return part == "__MACOSX" or (part.startswith(".") and part != "..")


def _segment(
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    out: zipfile.ZipFile,
    predict: Predict,
    card: ModelCard,
    max_pixels: int,
) -> dict[str, Any]:
    name = _safe_name(entry.filename)
    try:
        image = decode_image(_unpacked(archive, entry), max_pixels)
        prediction = predict(image)
    except SegtoolError as error:
        return {"name": name, "error": error.what}
    mixed = io.BytesIO()
    Image.fromarray(overlay(image, prediction.labels, card.colors)).save(mixed, "JPEG", quality=92)
    out.writestr(f"masks/{name}.png", png_bytes(as_palette_image(prediction.labels, card.colors)))
    out.writestr(f"overlays/{name}.jpg", mixed.getvalue())
    pixels = np.bincount(prediction.labels.ravel(), minlength=256)
    shares = {c.name: round(float(pixels[c.id]) / prediction.labels.size, 6) for c in card.classes}
    return {"name": name, "width": image.shape[1], "height": image.shape[0], **shares}


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(entry) as file:
            return file.read(entry.file_size)
    except _DAMAGED as error:
        raise SegtoolError("damaged in the zip file, or packed with a password") from error


def _safe_name(name: str) -> str:
    """Without what would lead out of the folder that the result is unpacked into."""
    parts = [
        part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..") and ":" not in part
    ]
    return "/".join(parts)


def _table(rows: list[dict[str, Any]], card: ModelCard) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, ["name", "width", "height", *card.names, "error"])
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
