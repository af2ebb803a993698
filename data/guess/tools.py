"""Layouts that have a spec of their own."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from segtool.data.reading import read_json, read_yaml
from segtool.errors import SegtoolError

_LARGEST = 1 << 24  # bytes of a JSON file that is read to see what it is
_LOOKED_AT = 3  # JSON files of a folder


class Known(NamedTuple):
    """A layout that needs no description: its spec, and what it is in words."""

    spec: str
    words: str


def known_layouts(root: Path) -> list[Known]:
    """The specs that read a folder as it is, each once."""
    return [*{known.spec: known for known in _layouts(root)}.values()]


def _layouts(root: Path) -> Iterator[Known]:
    if (root / "leftImg8bit").is_dir() and (root / "gtFine").is_dir():
        yield Known(f"cityscapes:{root}", "Cityscapes")
    if (root / "VOCdevkit" / "VOC2012").is_dir() or root.name == "VOC2012":
        yield Known(f"voc:{root}", "PASCAL VOC 2012")
    if next((root / "annotations" / "training").glob("ADE_train_*.png"), None):
        yield Known(f"ade20k:{root}", "ADE20K")
    for name in ("data.yaml", "data.yml", "dataset.yaml"):
        if (root / name).is_file() and _has_names(root / name):
            yield Known(f"yolo:{root}", "polygons of YOLO")
    if (root / "annotations.xml").is_file() and "<annotations" in _head(root / "annotations.xml"):
        yield Known(f"cvat:{root}", "CVAT's XML")
    for folder in (root / "annotations", root):
        for path in sorted(folder.glob("*.json"))[:_LOOKED_AT]:
            yield from islice(_json(path, root), 1)
    if next(root.glob("*/_annotations.coco.json"), None):
        yield Known(f"coco:{root}", "COCO's JSON, as Roboflow writes it")
    for path in sorted([*root.glob("*/*.json"), *root.glob("*/*/*.json")])[:_LOOKED_AT]:
        if "annotations" not in path.relative_to(root).parts and _is_labelme(path):
            yield Known(f"labelme:{root}", "labelme's JSON")


def _json(path: Path, root: Path) -> Iterator[Known]:
    head = _head(path)
    if ('"shapes"' in head and '"imagePath"' in head) or _is_labelme(path):
        yield Known(f"labelme:{root}", "labelme's JSON")
    elif '"categories"' in head or '"images"' in head or ('"annotations"' in head and head.lstrip().startswith("{")):
        folder = [*path.parent.glob("*.json")]
        whole = path.parent.name == "annotations" or len(folder) == 1
        yield Known(f"coco:{root if whole else path}", "COCO's JSON")
    elif head.lstrip().startswith("[") and '"data"' in head:
        yield Known(f"labelstudio:{path}", "Label Studio's JSON")


def _is_labelme(path: Path) -> bool:
    if path.stat().st_size > _LARGEST:
        return False
    try:
        data = read_json(path)
    except SegtoolError:
        return False
    return isinstance(data, dict) and isinstance(data.get("shapes"), list) and "imagePath" in data


def _has_names(path: Path) -> bool:
    try:
        data = read_yaml(path)
    except SegtoolError:
        return False
    return isinstance(data, dict) and "names" in data


def _head(path: Path) -> str:
    """The beginning of a text file; empty if it is none."""
    try:
        with path.open(encoding="utf-8", errors="strict") as file:
            return file.read(65536)
    except (OSError, UnicodeDecodeError):
        return ""
