"""Label Studio's JSON (the export called JSON, not JSON-MIN). https://labelstud.io/guide/export"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from segtool.data.annotations.dataset import open_annotated
from segtool.data.annotations.files import ImageFinder, size_of, subfolders
from segtool.data.annotations.shapes import Annotated, Notes, Shape, Source, ellipse
from segtool.data.base import SegmentationDataset
from segtool.data.reading import read_json
from segtool.data.registry import register_dataset
from segtool.errors import SegtoolError
from segtool.formats import IMAGE_SUFFIXES

_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the names of uploaded files
_AREAS = ("polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels")
_CHANNELS = 4  # of a brush: red, green, blue, alpha


@register_dataset("labelstudio")
def open_labelstudio(path: Path | None, split: str) -> SegmentationDataset:
    """Opens `labelstudio:FILE.json`, or `labelstudio:PATH` with one JSON file; images lie beside it or in `images`."""
    if path is None:
        raise SegtoolError("a path is needed", where="labelstudio", mend="--data labelstudio:FILE.json")
    file = _file(path)
    return open_annotated("labelstudio", split, file.parent, lambda wanted: read_labelstudio(file))


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.json"))
    if len(found) != 1:
        what = f"{len(found)} JSON files" if found else "no JSON file"
        raise SegtoolError(what, where=path, mend="name one: labelstudio:FILE.json")
    return found[0]


def read_labelstudio(path: Path) -> Source:
    """The images and shapes of a file.

    Raises:
        SegtoolError: it cannot be read, or is no JSON of Label Studio.
    """
    tasks, notes = read_json(path), Notes()
    if not isinstance(tasks, list) or not all(isinstance(t, dict) and isinstance(t.get("data"), dict) for t in tasks):
        raise SegtoolError("no tasks with data", where=path, mend="export as JSON, not as JSON-MIN")
    folders = [path.parent / "images", path.parent]
    named = (name for task in tasks for value in task["data"].values() if (name := _image_name(value)) is not None)
    finder = ImageFinder(folders, [sub for folder in folders for sub in subfolders(folder)], named)
    images = [image for task in tasks if (image := _image(task, finder, path, notes)) is not None]
    labels = sorted({shape.label for image in images for shape in image.shapes})
    return Source(labels, images, False, problems=notes.problems, doubts=notes.doubts)


def _image(task: dict[str, Any], finder: ImageFinder, path: Path, notes: Notes) -> Annotated | None:
    where = f"{path.name}, task {task.get('id')}"
    name = next((n for value in task["data"].values() if (n := _image_name(value)) is not None), None)
    if name is None:
        notes.problem("a task without an image", where, "remove it")
        return None
    try:
        file = _found(finder, name)
    except SegtoolError as error:
        notes.problems.append(error)
        return None
    given = task.get("annotations")
    done = [a for a in given if isinstance(a, dict) and not a.get("was_cancelled")] if isinstance(given, list) else []
    if not done:
        notes.doubt("a task without an annotation is left out", where)
        return None
    if len(done) > 1:
        notes.doubt("a task of several annotations, of which the first counts", where)
    results = done[0].get("result")
    results = [one for one in results if isinstance(one, dict)] if isinstance(results, list) else []
    sizes = {size for one in results if (size := size_of(one, "original_height", "original_width"))}
    size = sizes.pop() if len(sizes) == 1 else None
    shapes = [shape for one in results for shape in _shapes(one, where, size, notes)]
    folder = path.parent
    place = file.relative_to(folder) if file.is_relative_to(folder) else Path(file.name)
    stem = place.with_suffix("").as_posix().removeprefix("images/")
    return Annotated(stem, file, size, shapes, where)


def _found(finder: ImageFinder, name: str) -> Path:
    """The image of an address, which may be called as it was before it was uploaded.

    Raises:
        SegtoolError: there is none, or there are several.
    """
    try:
        return finder.find(name)
    except SegtoolError as error:
        plain = _UPLOAD.sub("", PurePosixPath(name).name)
        if plain == PurePosixPath(name).name:
            raise
        try:
            return finder.find(plain)
        except SegtoolError:
            raise error from None


def _image_name(value: object) -> str | None:
    """The path in an address such as /data/local-files/?d=a/b.jpg or s3://bucket/b.jpg."""
    if not isinstance(value, str):
        return None
    address = urlsplit(value)
    name = parse_qs(address.query).get("d", [unquote(address.path)])[0].lstrip("/")
    return name if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES else None


def _shapes(result: dict[str, Any], where: str, size: tuple[int, int] | None, notes: Notes) -> Iterator[Shape]:
    """The shape of one result, if it is one."""
    kind, value = result.get("type"), result.get("value")
    if not isinstance(value, dict):
        return
    labels = value.get(str(kind)) or value.get("labels")
    if kind not in _AREAS or not isinstance(labels, list) or not labels:
        if str(kind) not in ("choices", "textarea", "rating", "relation"):
            notes.doubt(f"a result of the type {kind} covers no labelled area, and is left out", where)
        return
    if kind == "brushlabels":
        shape = _brush(value, where, size, notes)
    else:
        if size is None:
            notes.problem("a result without original_width and original_height", where, "export it again")
            return
        outline = notes.outline(_percent(str(kind), value, size), where, size)
        shape = None if outline is None else Shape("", (outline,))
    if len(labels) > 1:
        notes.problem(f"a region of {len(labels)} labels", where, f"{', '.join(map(str, labels))}: leave one")
    elif shape is not None:
        yield shape._replace(label=str(labels[0]))


def _percent(kind: str, value: dict[str, Any], size: tuple[int, int]) -> list[float]:
    """A polygon in pixels; Label Studio counts percent of the image's sides. Empty if it says nothing."""
    scale = np.array([size[1], size[0]]) / 100
    try:
        if kind == "polygonlabels":
            return (np.array(value["points"], np.float64).reshape(-1, 2) * scale).ravel().tolist()
        names = ("x", "y", "width", "height") if kind == "rectanglelabels" else ("x", "y", "radiusX", "radiusY")
        numbers = np.array([float(value[name]) for name in names]) * np.tile(scale, 2)
        turn = np.deg2rad(float(value.get("rotation") or 0))
    except (KeyError, TypeError, ValueError):
        return []
    x, y, width, height = numbers.tolist()
    if kind == "ellipselabels":
        points = np.array(ellipse(0, 0, width, height)).reshape(-1, 2)
    else:
        points = np.array([[0, 0], [width, 0], [width, height], [0, height]])
    cosine, sine = np.cos(turn), np.sin(turn)
    return (points @ np.array([[cosine, sine], [-sine, cosine]]) + [x, y]).ravel().tolist()


def _brush(value: dict[str, Any], where: str, size: tuple[int, int] | None, notes: Notes) -> Shape | None:
    codes = value.get("rle")
    good = isinstance(codes, list) and all(isinstance(code, int) and 0 <= code < 256 for code in codes)
    if not good or value.get("format") != "rle":
        notes.problem("a brush that cannot be read", where, "export it again")
        return None
    return Shape("", bitmap=partial(brushed, bytes(codes), where))  # type: ignore[arg-type]  # `good` says what it is


def brushed(codes: bytes, where: object, height: int, width: int) -> NDArray[np.bool_]:
    """A mask from Label Studio's brush: bits that describe runs of bytes, red, green, blue and alpha by turns.

    32 bits: how many bytes; 5: the bits of a byte, less 1; 4 times 4: the bits of a run's length, less 1, of four
    kinds. Then for each run 1 bit: whether it is one byte again and again; 2: the kind; its length, less 1; the bytes.

    Raises:
        SegtoolError: the bits end too soon, or are of another size.
    """
    bits = _Bits(codes)
    try:
        count, word = bits.read(32), bits.read(5) + 1
        if count != _CHANNELS * height * width:
            raise ValueError(f"{count} bytes")
        kinds = [bits.read(4) + 1 for _ in range(4)]
        found, place = np.empty(count, np.uint8), 0
        while place < count:
            repeated = bits.read(1)
            length = bits.read(kinds[bits.read(2)]) + 1
            if repeated:
                found[place : place + length] = bits.read(word)
            else:
                found[place : place + length] = [bits.read(word) for _ in range(length)][: count - place]
            place += length
    except (IndexError, ValueError, OverflowError) as error:
        mend = f"the image has {height}x{width} pixels; export it again"
        raise SegtoolError(f"a brush that fits no image ({error})", where=where, mend=mend) from error
    return found.reshape(height, width, _CHANNELS)[..., 3] > 0


class _Bits:
    """Bits, the highest of each byte first, read as numbers."""

    def __init__(self, codes: bytes) -> None:
        self._codes, self._place = codes, 0

    def read(self, count: int) -> int:
        """The next bits as a number.

        Raises:
            IndexError: there are not so many.
        """
        end = self._place + count
        if end > 8 * len(self._codes):
            raise IndexError("it ends too soon")
        last = (end + 7) // 8
        whole = int.from_bytes(self._codes[self._place // 8 : last], "big")
        self._place = end
        return whole >> (8 * last - end) & (1 << count) - 1
