"""COCO's JSON (Lin et al. 2014), which CVAT, Label Studio and Roboflow write, too. https://cocodataset.org/#format-data"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.data.annotations.dataset import open_annotated
from segtool.data.annotations.files import ImageFinder, entries, read_json, size_of, subfolders
from segtool.data.annotations.shapes import Annotated, Notes, Shape, Source, runs
from segtool.data.base import SegmentationDataset
from segtool.data.registry import register_dataset
from segtool.errors import SegtoolError

_SPLIT = "{split}"
_NAMES = {"val": ("val", "valid", "validation"), "train": ("train", "training")}
_EXAMPLE = "coco:annotations/instances_{split}2017.json"


@register_dataset("coco")
def open_coco(path: Path | None, split: str) -> SegmentationDataset:
    """Opens `coco:FILE.json`, where `{split}` in the path stands for the split; or `coco:FOLDER` as COCO, CVAT or
    Roboflow lay it out."""
    if path is None:
        raise SegtoolError("a path is needed", where="coco", mend=f"--data {_EXAMPLE}")
    file, split_known = annotation_file(path, split)
    return open_annotated("coco", split, read_coco(file, split_known))


def annotation_file(path: Path, split: str) -> tuple[Path, bool]:
    """The file that holds a split, and whether it holds nothing else.

    Raises:
        SegtoolError: there is none, or there are several.
    """
    if _SPLIT in str(path):
        return Path(str(path).replace(_SPLIT, split)), True
    if not path.is_dir():
        return path, False
    for name in _NAMES.get(split, (split,)):
        found = [
            *path.glob(f"annotations/instances_{name}[0-9]*.json"),
            *(path / place for place in (f"annotations/instances_{name}.json", f"annotations/{name}.json")),
            *(path / place for place in (f"{name}/_annotations.coco.json", f"{name}.json")),
        ]
        if here := [file for file in found if file.is_file()]:
            return here[0], True
    alone = [*path.glob("*.json"), *path.glob("annotations/*.json")]
    if len(alone) == 1:
        return alone[0], False
    what = f"no file of the {split} split" if alone else "no JSON file"
    raise SegtoolError(what, where=path, mend=f"name it: {_EXAMPLE}")


def read_coco(path: Path, split_known: bool) -> Source:
    """The images and shapes of a file.

    Raises:
        SegtoolError: it cannot be read, or is no COCO file.
    """
    data, notes = read_json(path), Notes()
    names = {category.get("id"): str(category.get("name")) for category in entries(data, "categories", path, "COCO")}
    shapes: dict[Any, list[Shape]] = {}
    sizes = {image.get("id"): size_of(image, "height", "width") for image in entries(data, "images", path, "COCO")}
    for annotation in entries(data, "annotations", path, "COCO"):
        where = f"{path.name}, annotation {annotation.get('id')}"
        if annotation.get("category_id") not in names:
            what = "an annotation of a category that is not among the categories"
            notes.problem(what, where, f"category_id {annotation.get('category_id')}: add it, or remove these")
        elif annotation.get("image_id") not in sizes:
            notes.problem("an annotation of an image that is not among the images", where, "remove it")
        else:
            image = annotation["image_id"]
            shape = _shape(annotation, names[annotation["category_id"]], notes, where, sizes[image])
            shapes.setdefault(image, []).extend([] if shape is None else [shape])
    images = _images(data["images"], shapes, path, notes)
    return Source(
        path.parent, [*names.values()], images, split_known, True, problems=notes.problems, doubts=notes.doubts
    )


def _shape(
    annotation: dict[str, Any], label: str, notes: Notes, where: str, size: tuple[int, int] | None
) -> Shape | None:
    found, crowd = annotation.get("segmentation"), bool(annotation.get("iscrowd"))
    if isinstance(found, dict):
        counts = _counts(found.get("counts"))
        stated = found.get("size")
        if counts is None or (size and stated != list(size)):
            notes.problem("a mask of run lengths that fits no image", where, f"its size is {stated}")
            return None
        if crowd:
            notes.doubt("a region of iscrowd 1 is void", where, "set iscrowd to 0 where it is one thing")
        return Shape(label, bitmap=partial(decoded, counts, where), crowd=crowd)
    if not isinstance(found, list) or not found:
        notes.problem("an annotation without a segmentation", where, "boxes are not enough: remove it, or draw it")
        return None
    parts = [part if isinstance(part, list) else [part] for part in found]
    outlines = tuple(o for part in parts if (o := notes.outline(part, where, size)) is not None)
    return Shape(label, outlines, crowd=crowd) if outlines else None


def decoded(counts: NDArray[np.int64], where: object, height: int, width: int) -> NDArray[np.bool_]:
    """A mask from COCO's run lengths, which go down the columns."""
    return runs(counts, height, width, where).reshape(width, height).T


def _counts(given: object) -> NDArray[np.int64] | None:
    """Run lengths from a list, or from COCO's text: pycocotools reads beyond those that do not fill the image."""
    try:
        counts = np.array(given if isinstance(given, list) else _unpacked(str(given)), np.int64)
    except (ValueError, TypeError, OverflowError):
        return None
    return counts if counts.ndim == 1 and len(counts) else None


def _unpacked(text: str) -> list[int]:
    """Numbers of 5 bits a character, the lowest first, the next bit says that more follow; from the third on they are
    differences to the last but one."""
    counts: list[int] = []
    value = bits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits > 50:
            raise ValueError(text)
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << bits
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = bits = 0
    if bits:
        raise ValueError(text)
    return counts


def _images(listed: list[dict[str, Any]], shapes: dict[Any, list[Shape]], path: Path, notes: Notes) -> list[Annotated]:
    folder = path.parent
    around = [folder, folder / "images", folder.parent, folder.parent / "images"]
    finder = ImageFinder([*around, *(sub for place in around[1:] for sub in subfolders(place))])
    found: list[Annotated] = []
    seen: set[Any] = set()
    for image in listed:
        name, key = str(image.get("file_name")), image.get("id")
        file = finder.find(name)
        if key in seen:
            notes.problem("two images have one id", f"{path.name}, image {key}", "give each its own")
        elif file is None:
            notes.problem("a listed image is missing", name, f"looked in {finder.where}")
        else:
            stem = str(Path(name.replace("\\", "/")).with_suffix(""))
            found.append(
                Annotated(stem, file, size_of(image, "height", "width"), shapes.get(key, []), f"{path.name}, {name}")
            )
        seen.add(key)
    return found
