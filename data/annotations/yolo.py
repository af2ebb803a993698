"""YOLO's segmentation labels as Ultralytics reads them: data.yaml, and for each image a text file of polygons.

https://docs.ultralytics.com/datasets/segment/
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from segtool.data.annotations.dataset import open_annotated
from segtool.data.annotations.files import SPLIT_WORDS, split_words
from segtool.data.annotations.shapes import Annotated, Notes, Shape, Source
from segtool.data.base import SegmentationDataset
from segtool.data.reading import read_text, read_yaml
from segtool.data.registry import register_dataset
from segtool.data.splits import no_such_split
from segtool.errors import SegtoolError
from segtool.formats import IMAGE_SUFFIXES
from segtool.images import opened_image, upright_size
from segtool.sources import find

_FILES = ("data.yaml", "data.yml", "dataset.yaml")


@register_dataset("yolo")
def open_yolo(path: Path | None, split: str) -> SegmentationDataset:
    """Opens `yolo:PATH` or `yolo:PATH/data.yaml`."""
    if path is None:
        raise SegtoolError("a path is needed", where="yolo", mend="--data yolo:PATH, the folder of data.yaml")
    file = yaml_file(path)
    return open_annotated("yolo", split, file.parent, lambda wanted: read_yolo(file, wanted))


def yaml_file(path: Path) -> Path:
    """The data.yaml of a folder, or the file itself.

    Raises:
        SegtoolError: there is none.
    """
    if not path.is_dir():
        return path
    for name in _FILES:
        if (path / name).is_file():
            return path / name
    raise SegtoolError("no data.yaml", where=path, mend="it names the classes and the folders of the splits")


def read_yolo(path: Path, split: str | None) -> Source:
    """The images and polygons of a split, or of all. An image without a text file shows background alone.

    Raises:
        SegtoolError: data.yaml cannot be read, or has no such split.
    """
    data, notes = read_yaml(path), Notes()
    labels = _labels(data, path)
    splits = [split] if split is not None else [name for name in SPLIT_WORDS if _given(data, name, path)]
    places = [place for name in splits for place in _places(data, name, path)]
    images = _unique([image for place in dict.fromkeys(places) for image in _listed(place)])
    found: list[Annotated] = []
    without = 0
    for name, image in images:
        text = label_file(image)
        without += not text.is_file()
        size = _size(image, notes)
        shapes = [*_shapes(text, labels, size, notes)] if size and text.is_file() else []
        found.append(Annotated(name, image, size, shapes, str(text)))
    if images and without == len(images):
        what = "no image has a text file of labels"
        notes.problem(what, label_file(images[0][1]), "labels/... lies beside images/..., with the same names")
    elif without:
        notes.doubt("images without a text file are taken for background alone", f"{without} of {len(images)} images")
    return Source(labels, found, split is not None, True, problems=notes.problems, doubts=notes.doubts)


def label_file(image: Path) -> Path:
    """Where the polygons of an image lie: the last folder `images` of its path becomes `labels`."""
    parts = [*image.parts]
    places = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _labels(data: Any, path: Path) -> list[str]:
    names = data.get("names") if isinstance(data, dict) else None
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise SegtoolError("no names of classes", where=path, mend="names: {0: car, 1: tree}")
    return [str(name) for name in names]


def _places(data: dict[str, Any], split: str, path: Path) -> list[Path]:
    """The folders and lists of a split's images."""
    given = _given(data, split, path)
    if given is None:
        known = ", ".join(name for name in ("train", "val", "valid", "test") if data.get(name)) or "none"
        raise no_such_split(split, f"no split {split}", path, f"it has {known}")
    root = path.parent / str(data.get("path") or ".")
    roots = [root if root.is_dir() else path.parent, path.parent]  # `path` may be one of another machine
    places = []
    for name in given if isinstance(given, list) else [given]:
        # Roboflow writes ../train/images for a folder beside the file.
        tried = [r / n for r in roots for n in (str(name), str(name).removeprefix("../"))]
        place = next((t for t in tried if t.exists()), None)
        if place is None:
            raise SegtoolError(f"split {split} is not there", where=tried[0], mend=f"correct {path}")
        places.append(place)
    return places


def _given(data: dict[str, Any], split: str, path: Path) -> Any:
    """What data.yaml says of a split, or the usual folder if it says nothing: supervision writes names alone."""
    words = split_words(split)
    usual = [f"{place}" for word in words for place in (f"{word}/images", f"images/{word}")]
    there = (place for place in usual if (path.parent / place).is_dir())
    return next((data[word] for word in words if data.get(word)), None) or next(there, None)


def _listed(place: Path) -> list[tuple[str, Path]]:
    """Names and paths of a folder's images, or of those that a text file lists."""
    if place.is_dir():
        return [(str(Path(name).with_suffix("")), place / name) for name in find(place).images]
    lines = [line.strip() for line in read_text(place).splitlines() if line.strip()]
    paths = [Path(line) if Path(line).is_absolute() else place.parent / line for line in lines]
    return [(path.stem, path) for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]


def _unique(images: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """The images with names that differ: with their folder where several places have one."""
    count = Counter(name for name, _ in images)
    return [(name if count[name] == 1 else f"{path.parent.name}/{name}", path) for name, path in images]


def _size(image: Path, notes: Notes) -> tuple[int, int] | None:
    """(height, width) as it is read, which a text file does not say."""
    try:
        with opened_image(image) as opened:
            return upright_size(opened)
    except SegtoolError as error:
        notes.problems.append(error)
        return None


def _shapes(path: Path, labels: list[str], size: tuple[int, int], notes: Notes) -> Iterator[Shape]:
    for number, line in enumerate(read_text(path).splitlines(), 1):
        where = f"{path}, line {number}"
        words = line.split()
        if not words:
            continue
        if not words[0].isdigit() or int(words[0]) >= len(labels):
            notes.problem(f"class {words[0]} is not among the names", where, f"data.yaml has 0..{len(labels) - 1}")
        elif len(words) == 5:
            notes.problem("a box where a polygon should be", where, "boxes alone are not enough")
        elif (outline := _outline(words[1:], where, size, notes)) is not None:
            yield Shape(labels[int(words[0])], (outline,))


def _outline(words: list[str], where: str, size: tuple[int, int], notes: Notes) -> "np.ndarray | None":
    try:
        numbers = np.array(words, np.float64)
    except ValueError:
        notes.problem("a polygon whose coordinates are no numbers", where, "correct or remove it")
        return None
    if numbers.size and np.abs(numbers).max() > 2:
        notes.problem("coordinates in pixels", where, "they must be shares of width and height, 0..1")
        return None
    scale = np.resize([size[1], size[0]], numbers.size)
    return notes.outline((numbers * scale).tolist(), where, size)
