"""COCO's JSON (Lin et al. 2014), which CVAT, Label Studio and Roboflow write, too. https://cocodataset.org/#format-data"""

from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.data.annotations.dataset import open_annotated
from segtool.data.annotations.files import ImageFinder, entries, size_of, split_words, subfolders
from segtool.data.annotations.shapes import Annotated, Notes, Shape, Source, runs
from segtool.data.base import SegmentationDataset
from segtool.data.reading import read_json, short
from segtool.data.registry import register_dataset
from segtool.data.splits import no_such_split
from segtool.errors import SegtoolError

_SPLIT = "{split}"
_EXAMPLE = "coco:annotations/instances_{split}2017.json"


@register_dataset("coco")
def open_coco(path: Path | None, split: str) -> SegmentationDataset:
    """Opens `coco:FILE.json`, where `{split}` in the path stands for the split; or `coco:FOLDER` as COCO, CVAT or
    Roboflow lay it out."""
    if path is None:
        raise SegtoolError("a path is needed", where="coco", mend=f"--data {_EXAMPLE}")
    folder = path if path.is_dir() else path.parent
    return open_annotated("coco", split, folder, lambda wanted: read_coco(*annotation_file(path, wanted), wanted))


def annotation_file(path: Path, split: str | None) -> tuple[Path, bool]:
    """The file that holds a split, or everything, and whether it holds nothing but the split.

    Raises:
        SegtoolError: there is none, or there are several.
    """
    if _SPLIT in str(path):
        if split is None:
            what = "the splits are files already, and all of them together are none"
            raise SegtoolError(what, where=path, mend="remove split: from classes.yaml; --split train")
        return Path(str(path).replace(_SPLIT, split)), True
    if not path.is_dir():
        return path, False
    for name in split_words(split):
        found = [
            *path.glob(f"annotations/instances_{name}[0-9]*.json"),
            *(path / place for place in (f"annotations/instances_{name}.json", f"annotations/{name}.json")),
            *(path / place for place in (f"{name}/_annotations.coco.json", f"{name}.json")),
        ]
        if here := [file for file in found if file.is_file()]:
            return here[0], True
    alone = [*path.glob("*.json"), *path.glob("annotations/*.json"), *path.glob("*/_annotations.coco.json")]
    if len(alone) == 1:
        return alone[0], False
    names = ", ".join(sorted(str(file.relative_to(path)) for file in alone)[:4])
    mend = f"name one: coco:FILE.json, or {_EXAMPLE}"
    if alone and split is not None:
        raise no_such_split(split, f"{len(alone)} JSON files and none of the split {split}: {names}", path, mend)
    raise SegtoolError(f"{len(alone)} JSON files: {names}" if alone else "no JSON file", where=path, mend=mend)


def read_coco(path: Path, split_known: bool, split: str | None) -> Source:
    """The images and shapes of a file.

    Args:
        split_known: whether it holds one split alone.
        split: whose images it is about, as images of several splits may have one name.

    Raises:
        SegtoolError: it cannot be read, or is no COCO file.
    """
    data, notes = read_json(path), Notes()
    names: dict[Any, str] = {}
    for category in entries(data, "categories", path, "COCO"):
        if names.setdefault(category.get("id"), str(category.get("name"))) != str(category.get("name")):
            notes.problem(
                "two categories have one id", f"{path.name}, category {category.get('id')}", "give each its own"
            )
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
    images = _images(data["images"], shapes, path, split, notes)
    if empty := sum(not image.shapes for image in images):
        notes.doubt(
            "images without an annotation show background alone", f"{path.name}, {empty} of {len(images)} images"
        )
    labels = [*names.values()]
    return Source(labels, images, split_known, True, problems=notes.problems, doubts=notes.doubts)


def _shape(
    annotation: dict[str, Any], label: str, notes: Notes, where: str, size: tuple[int, int] | None
) -> Shape | None:
    found, crowd = annotation.get("segmentation"), annotation.get("iscrowd", 0)
    if crowd not in (0, 1, None):
        notes.problem(f"iscrowd is {short(crowd)}", where, "0 for one thing, 1 for several that nobody told apart")
        return None
    crowd = bool(crowd)
    if crowd:
        notes.doubt("a region of iscrowd 1 is void", where, "set iscrowd to 0 where it is one thing")
    if isinstance(found, dict):
        counts = _counts(found.get("counts"))
        stated = found.get("size")
        if counts is None or (size and stated != list(size)):
            notes.problem("a mask of run lengths that fits no image", where, f"its size is {stated}")
            return None
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


def _images(
    listed: list[dict[str, Any]], shapes: dict[Any, list[Shape]], path: Path, split: str | None, notes: Notes
) -> list[Annotated]:
    folder = path.parent
    near, above = [folder, folder / "images"], [folder.parent, folder.parent / "images"]
    far = [*above, *(sub for place in (*near[1:], *above) for sub in subfolders(place))]
    finder = ImageFinder(near, far, (str(image.get("file_name")) for image in listed), split)
    found: list[Annotated] = []
    seen: set[Any] = set()
    for image in listed:
        name, key = str(image.get("file_name")), image.get("id")
        if key in seen:
            notes.problem("two images have one id", f"{path.name}, image {key}", "give each its own")
            continue
        seen.add(key)
        try:
            file = finder.find(name)
        except SegtoolError as error:
            notes.problems.append(error)
            continue
        stem = str(PurePosixPath(name.replace("\\", "/")).with_suffix(""))
        size = size_of(image, "height", "width")
        found.append(Annotated(stem, file, size, shapes.get(key, []), f"{path.name}, {name}"))
    return found
