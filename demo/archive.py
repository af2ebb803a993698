"""Many images at once: a zip in, a zip out."""

import csv
import io
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from segtool.card import ModelCard
from segtool.drawing import as_palette_image, overlay, png_bytes
from segtool.errors import SegtoolError
from segtool.prediction import Prediction, voided
from segtool.readers import Image as Taken
from segtool.readers import reader_of
from segtool.sources import left_alone, result_names, said_of, sort_out

MAX_IMAGES = 500
MAX_UNPACKED = 512 * 2**20  # bytes of all images together

# What zipfile raises for what it cannot unpack: NotImplementedError for odd packing, RuntimeError for a password.
_DAMAGED = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)

Predict = Callable[[Taken], Prediction]


class Answer(NamedTuple):
    """A zip file, and a line that says how many images were segmented."""

    packed: bytes
    line: str


def segment_archive(
    path: Path,
    predict: Predict,
    card: ModelCard,
    max_pixels: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Answer:
    """Segments the images in a zip file.

    Args:
        max_pixels: of an image.
        progress: called with the numbers of images that are finished and that there are.

    Returns:
        A zip file with PATH/NAME.png (class ids with a palette) and PATH/NAME_overlay.jpg for each image, named as
        `segtool.sources.result_names` does, and index.csv: name, mask, height, width, the share of each class, or why
        there is none.

    Raises:
        SegtoolError: not a zip file, no images in it, too many or too large ones.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGED as error:
        raise SegtoolError("not a zip file that can be read", mend="pack the images again") from error
    result, rows = io.BytesIO(), []
    with archive, zipfile.ZipFile(result, "w") as out:
        images, others = _sorted_out(archive)
        names = result_names([path for path, _ in images])
        for done, ((given, entry), name) in enumerate(zip(images, names, strict=True)):
            progress(done, len(images))
            rows.append({"name": given, **_segment(archive, entry, name, out, predict, card, max_pixels)})
        rows += [{"name": given, "error": "left alone: not named as an image"} for given in others]
        out.writestr("index.csv", _table(rows, card))
    failed = sum("error" in row for row in rows) - len(others)
    return Answer(result.getvalue(), f"{len(images) - failed} of {len(images)} images segmented{left_alone(others)}")


def _sorted_out(archive: zipfile.ZipFile) -> tuple[list[tuple[str, zipfile.ZipInfo]], list[str]]:
    """The images, each with where it lies, and what else there is."""
    entries: dict[str, list[zipfile.ZipInfo]] = defaultdict(list)
    for entry in archive.infolist():
        if not entry.is_dir():
            entries[_safe_name(entry.filename)].append(entry)
    found = sort_out(entries)
    images = [(path, entry) for path in found.images for entry in entries[path]]
    _check([entry for _, entry in images], others := sorted([*found.videos, *found.others]))
    return images, others


def _check(entries: list[zipfile.ZipInfo], others: list[str]) -> None:
    if not entries:
        alone = f", but {said_of(others)}" if others else ""
        raise SegtoolError(f"there are no images in the zip file{alone}")
    if len(entries) > MAX_IMAGES:
        raise SegtoolError(f"more than {MAX_IMAGES} images", mend="segtool predict takes any number")
    # What the file says of itself is checked again as each is read.
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED:
        raise SegtoolError(f"more than {MAX_UNPACKED >> 20} MiB of images", mend="segtool predict takes any number")


def _segment(
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    name: str,
    out: zipfile.ZipFile,
    predict: Predict,
    card: ModelCard,
    max_pixels: int,
) -> dict[str, Any]:
    try:
        reader = reader_of(card.input)
        opened = reader.decode(_unpacked(archive, entry), max_pixels)
        prediction = voided(predict(opened.values), opened.missing)
    except SegtoolError as error:
        return {"error": error.what}
    image, mixed = reader.picture(opened.values), io.BytesIO()
    Image.fromarray(overlay(image, prediction.labels, card.colors)).save(mixed, "JPEG", quality=92)
    mask = f"{name}.png"
    out.writestr(mask, png_bytes(as_palette_image(prediction.labels, card.colors)))
    out.writestr(f"{name}_overlay.jpg", mixed.getvalue())
    pixels = np.bincount(prediction.labels.ravel(), minlength=256)
    shares = {c.name: round(float(pixels[c.id]) / prediction.labels.size, 6) for c in card.classes}
    return {"mask": mask, "height": image.shape[0], "width": image.shape[1], **shares}


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
    table = csv.DictWriter(text, ["name", "mask", "height", "width", *card.names, "error"])
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
