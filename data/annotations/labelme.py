"""labelme's JSON: one file for each image, with what was drawn on it. https://github.com/wkentaro/labelme"""

import base64
import binascii
import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segtool.data.annotations.dataset import open_annotated
from segtool.data.annotations.files import ImageFinder, size_of
from segtool.data.annotations.shapes import Annotated, Notes, Shape, Source, ellipse
from segtool.data.base import SegmentationDataset
from segtool.data.pairs import require_folder
from segtool.data.reading import read_json, read_text
from segtool.data.registry import register_dataset
from segtool.errors import SegtoolError
from segtool.formats import IMAGE_SUFFIXES

_IGNORE, _BACKGROUND = "__ignore__", "_background_"  # of labelme's own list of labels
_LABELS = "labels.txt"
_POLYGONS, _ROUND = ("polygon", "oriented_rectangle"), ("rectangle", "circle")
_WITHOUT_AREA = ("line", "linestrip", "point", "points")


@register_dataset("labelme")
def open_labelme(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `labelme:PATH`: JSON files with their images, in folders of the splits' names or all together."""
    root = require_folder(root, "labelme")
    return open_annotated("labelme", split, root, lambda wanted: read_labelme(root, wanted))


def read_labelme(root: Path, split: str | None) -> Source:
    """The images and shapes of all JSON files below a folder.

    Args:
        root: may hold labels.txt, labelme's list of labels; otherwise they are those that occur, sorted.
        split: those in the folder of that name, if there is one.

    Raises:
        SegtoolError: there is none.
    """
    notes, images, used = Notes(), list[Annotated](), set[str]()
    folder = root / split if split is not None and (root / split).is_dir() else root
    for path in _files(root):
        inside = path.is_relative_to(folder)
        try:
            data = read_json(path)
        except SegtoolError as error:
            notes.problems += [error] if inside else []
            continue
        if not isinstance(data, dict) or not isinstance(data.get("shapes"), list):
            continue
        used |= {str(shape.get("label")) for shape in data["shapes"] if isinstance(shape, dict) and shape.get("label")}
        images += _annotated(data, path, root, folder, notes) if inside else ()
    if not images and not notes.problems:
        raise SegtoolError("no JSON files of labelme", where=folder, mend="they lie beside their images")
    listed = _listed(root / _LABELS)
    labels = listed or [*([_BACKGROUND] if _BACKGROUND in used else []), *sorted(used - {_IGNORE, _BACKGROUND})]
    known = folder != root
    return Source(labels, images, known, void=[_IGNORE], problems=notes.problems, doubts=notes.doubts)


def _files(root: Path) -> list[Path]:
    """The JSON files, without those in hidden folders, where other programs keep copies."""
    found = root.rglob("*.json")
    return sorted(path for path in found if not any(p.startswith(".") for p in path.relative_to(root).parts))


def _listed(path: Path) -> list[str]:
    return [line.strip() for line in read_text(path).splitlines() if line.strip()] if path.is_file() else []


def _annotated(data: dict[str, Any], path: Path, root: Path, folder: Path, notes: Notes) -> Iterator[Annotated]:
    name = path.relative_to(folder).with_suffix("").as_posix()
    stated = str(data.get("imagePath") or "")
    try:
        image = _image(path, root, stated)
    except SegtoolError:
        notes.problem("the image of a JSON file is missing", path, f"put {stated or 'it'} beside the file")
        return
    size = size_of(data, "imageHeight", "imageWidth")
    shapes = [
        shape
        for number, entry in enumerate(data["shapes"])
        if (shape := _shape(entry, f"{path}, shape {number}", size, notes)) is not None
    ]
    yield Annotated(name, image, size, shapes, str(path))


def _image(path: Path, root: Path, stated: str) -> Path:
    """The image of a JSON file: as it says, which may lead to a folder beside `root`; or the one with its name."""
    there = path.parent / stated.replace("\\", "/")
    allowed = there.resolve().is_relative_to(root.resolve().parent)
    if stated and allowed and there.suffix.lower() in IMAGE_SUFFIXES and there.is_file():
        return there
    return ImageFinder([path.parent], [path.parent.parent / "images"], [stated]).find(stated)


def _shape(entry: Any, where: str, size: tuple[int, int] | None, notes: Notes) -> Shape | None:
    label, points = (entry.get("label"), _points(entry.get("points"))) if isinstance(entry, dict) else (None, None)
    if not isinstance(label, str) or not label.strip() or points is None:
        notes.problem("a shape without a label or points", where, "correct or remove it")
        return None
    kind, flat = str(entry.get("shape_type") or "polygon"), [number for point in points for number in point]
    if kind in _WITHOUT_AREA:
        notes.doubt(f"a {kind} covers no area, and is left out", where)
        return None
    if kind == "mask":
        return _mask(entry, label, where, notes)
    if kind not in (*_POLYGONS, *_ROUND):
        notes.problem(f"a shape of the type {kind}, which is not known here", where, "draw it as a polygon")
        return None
    outline = notes.outline(_polygon(kind, points) if kind in _ROUND else flat, where, size)
    return None if outline is None else Shape(label, (outline,))


def _points(given: object) -> list[list[float]] | None:
    """The points (x, y), or None if they are anything else."""
    good = isinstance(given, list) and all(
        isinstance(p, list) and len(p) == 2 and all(isinstance(v, (int, float)) for v in p) for p in given
    )
    return given if good else None  # type: ignore[return-value]  # `good` says what it is


def _polygon(kind: str, points: Sequence[Sequence[float]]) -> list[float]:
    """The corners of a rectangle from two of them; points on a circle from its middle and one of them."""
    if len(points) != 2:
        return []
    (x, y), (u, v) = points
    if kind == "rectangle":
        return [x, y, u, y, u, v, x, v]
    radius = float(np.hypot(u - x, v - y))
    return ellipse(x, y, radius, radius)


def _mask(entry: dict[str, Any], label: str, where: str, notes: Notes) -> Shape | None:
    """A small picture at a place, as labelme's assistant draws it."""
    try:
        picture = base64.b64decode(str(entry.get("mask")), validate=True)
        left, top = (round(float(v)) for v in entry["points"][0])
        if max(abs(left), abs(top)) > 1e6:
            raise ValueError
    except (ValueError, IndexError, binascii.Error):
        notes.problem("a mask that is no picture at a place", where, "correct or remove it")
        return None
    return Shape(label, bitmap=partial(pasted, picture, top, left, where))


def pasted(picture: bytes, top: int, left: int, where: object, height: int, width: int) -> NDArray[np.bool_]:
    """A picture's pixels that are not zero, at its place in an image.

    Raises:
        SegtoolError: it is no picture, or larger than the image.
    """
    whole = np.zeros((height, width), bool)
    try:
        with Image.open(io.BytesIO(picture), formats=["PNG"]) as image:
            if image.width > 2 * width or image.height > 2 * height:
                raise ValueError("it is larger than the image")
            small = np.asarray(image.convert("L")) > 0
    except Exception as error:  # whatever a damaged picture makes its decoder raise
        raise SegtoolError(f"a mask that cannot be read ({error})", where=where, mend="draw it again") from error
    rows = slice(max(0, top), min(height, top + small.shape[0]))
    columns = slice(max(0, left), min(width, left + small.shape[1]))
    if rows.start < rows.stop and columns.start < columns.stop:
        whole[rows, columns] = small[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return whole
