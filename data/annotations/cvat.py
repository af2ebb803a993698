"""CVAT's own XML, which it calls "CVAT for images 1.1". https://docs.cvat.ai/docs/manual/advanced/xml_format/

Its exports as COCO and YOLO are read as those; what it calls "Segmentation mask" is a folder of colours.
"""

from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from segtool.data.annotations.dataset import open_annotated
from segtool.data.annotations.files import ImageFinder, size_of, split_words, subfolders
from segtool.data.annotations.shapes import Annotated, Notes, Shape, Source, ellipse, runs
from segtool.data.base import SegmentationDataset
from segtool.data.reading import read_text
from segtool.data.registry import register_dataset
from segtool.errors import SegtoolError

FILE = "annotations.xml"
_WITHOUT_AREA = ("polyline", "points", "tag", "skeleton", "cuboid")


@register_dataset("cvat")
def open_cvat(path: Path | None, split: str) -> SegmentationDataset:
    """Opens `cvat:PATH`, the folder of annotations.xml, or `cvat:FILE.xml`. Subsets of CVAT are splits."""
    if path is None:
        raise SegtoolError("a path is needed", where="cvat", mend="--data cvat:PATH, the folder of annotations.xml")
    folder = path if path.is_dir() else path.parent
    return open_annotated("cvat", split, folder, lambda wanted: read_cvat(path, wanted))


def read_cvat(path: Path, split: str | None) -> Source:
    """The images and shapes of a file, or of annotations.xml or SPLIT.xml in a folder.

    Args:
        split: the images of one subset, where there are subsets of that name.

    Raises:
        SegtoolError: it cannot be read, or is no XML of CVAT.
    """
    of_split = path / f"{split}.xml"  # as datumaro writes it
    whole = of_split.is_file()
    file = of_split if whole else path / FILE if path.is_dir() else path
    root, notes = _parsed(file), Notes()
    elements = root.findall("image")
    if not elements:
        raise SegtoolError("no images", where=file, mend='export as "CVAT for images 1.1"')
    chosen = [element for element in elements if element.get("subset", "").lower() in split_words(split)]
    known = whole or bool(chosen)
    places = [file.parent / "images", file.parent]
    far = [sub for place in places for sub in subfolders(place)]
    finder = ImageFinder(places, far, (element.get("name", "") for element in elements), split)
    images = [image for e in (chosen or elements) if (image := _image(e, finder, file, notes)) is not None]
    if empty := sum(not image.shapes for image in images):
        notes.doubt(
            "images without an annotation show background alone", f"{file.name}, {empty} of {len(images)} images"
        )
    labels, colors = _labels(root)
    labels = labels or sorted({shape.label for image in images for shape in image.shapes})
    return Source(labels, images, known, colors=colors, problems=notes.problems, doubts=notes.doubts)


def _parsed(path: Path) -> ElementTree.Element:
    text = read_text(path)
    if "<!DOCTYPE" in text[:4096]:  # CVAT writes none; one could define entities that grow without end
        raise SegtoolError("an XML file with a DOCTYPE", where=path, mend="export it again")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise SegtoolError(f"not valid XML ({error})", where=path, mend="export it again") from error


def _labels(root: ElementTree.Element) -> tuple[list[str], dict[str, tuple[int, int, int]]]:
    """The task's labels in their order, and their colours."""
    names, colors = [], {}
    for element in root.iterfind("meta//labels/label"):
        name, color = element.findtext("name"), element.findtext("color") or ""
        if name and not element.findtext("parent"):
            names.append(name)
            try:
                red, green, blue = bytes.fromhex(color.removeprefix("#"))
            except ValueError:
                continue
            colors[name] = (red, green, blue)
    return [*dict.fromkeys(names)], colors


def _image(element: ElementTree.Element, finder: ImageFinder, path: Path, notes: Notes) -> Annotated | None:
    name = element.get("name", "")
    try:
        file = finder.find(name)
    except SegtoolError as error:
        notes.problems.append(error)
        return None
    numbers = _numbers(element, "height", "width")
    size = size_of({"height": numbers[0], "width": numbers[1]}, "height", "width") if numbers else None
    shapes: list[tuple[int, Shape]] = []
    for number, child in enumerate(element):
        shape = _shape(child, f"{path.name}, {name}, shape {number}", size, notes)
        if shape is not None:
            shapes.append((int(_number(child.get("z_order")) or 0), shape))
    shapes.sort(key=lambda one: one[0])
    return Annotated(
        str(Path(name).with_suffix("")), file, size, [shape for _, shape in shapes], f"{path.name}, {name}"
    )


def _shape(element: ElementTree.Element, where: str, size: tuple[int, int] | None, notes: Notes) -> Shape | None:
    label, kind = element.get("label"), element.tag
    if label is None:
        return None
    if kind in _WITHOUT_AREA:
        notes.doubt(f"a {kind} covers no area, and is left out", where)
        return None
    if kind == "mask":
        return _mask(element, label, where, notes)
    if kind == "polygon":
        numbers: list[object] = [n for point in (element.get("points") or "").split(";") for n in point.split(",")]
    elif kind == "box" and (box := _numbers(element, "xtl", "ytl", "xbr", "ybr")):
        left, top, right, bottom = box
        numbers = [left, top, right, top, right, bottom, left, bottom]
    elif kind == "ellipse" and (oval := _numbers(element, "cx", "cy", "rx", "ry")):
        numbers = [*ellipse(*oval)]
    else:
        notes.problem(f"a {kind} that cannot be read", where, "draw it as a polygon")
        return None
    outline = notes.outline(numbers, where, size)
    return None if outline is None else Shape(label, (outline,))


def _numbers(element: ElementTree.Element, *names: str) -> list[float] | None:
    found = [_number(element.get(name)) for name in names]
    return [value for value in found if value is not None] if None not in found else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if np.isfinite(value) and abs(value) < 1e9 else None


def _mask(element: ElementTree.Element, label: str, where: str, notes: Notes) -> Shape | None:
    box = _numbers(element, "top", "left", "height", "width")
    try:
        counts = np.array((element.get("rle") or "").split(","), np.int64)
    except (ValueError, OverflowError):
        counts = np.array([-1], np.int64)
    if box is None or ((counts < 0) | (counts > 1e12)).any() or counts.sum() != box[2] * box[3]:
        notes.problem("a mask of run lengths that do not fill its box", where, "export it again")
        return None
    top, left, height, width = map(int, box)
    return Shape(label, bitmap=partial(placed, counts, (top, left, height, width), where))


def placed(
    counts: NDArray[np.int64], box: tuple[int, int, int, int], where: object, height: int, width: int
) -> NDArray[np.bool_]:
    """A mask from CVAT's run lengths, which go along the rows of a box (top, left, height, width).

    Raises:
        SegtoolError: the box lies outside the image.
    """
    top, left, rows, columns = box
    if top < 0 or left < 0 or top + rows > height or left + columns > width:
        raise SegtoolError("a mask reaches beyond its image", where=where, mend=f"which has {height}x{width} pixels")
    whole = np.zeros((height, width), bool)
    whole[top : top + rows, left : left + columns] = runs(counts, rows, columns, where).reshape(rows, columns)
    return whole
