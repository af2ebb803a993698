"""A folder with `train/images`, `train/masks`, `val/images`, `val/masks` and a `classes.yaml`."""

from pathlib import Path

import yaml
from pydantic import ValidationError

from segtool.card import ClassInfo
from segtool.data.base import SegmentationDataset
from segtool.data.pairs import MOST_CLASSES, PairsDataset, paired_by_stem, require_folder, too_many_classes
from segtool.data.registry import register_dataset
from segtool.errors import SegtoolError
from segtool.palette import voc_color
from segtool.suggest import unknown

_EXAMPLE = "write one such as: classes: [background, {name: road, color: [128, 64, 128]}]"


@register_dataset("folder")
def open_folder(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `folder:PATH`; PATH/classes.yaml names the classes and, if it is not 255, the ignore_index.

    Images and masks are paired by their file's stem; masks hold class ids.
    """
    root = require_folder(root, "folder")
    classes, ignore_index = read_classes(root / "classes.yaml")
    paired = paired_by_stem(root / split / "images", root / split / "masks")
    return PairsDataset("folder", split, classes, *paired, ignore_index=ignore_index)


def read_classes(path: Path) -> tuple[list[ClassInfo], int]:
    """Reads `classes: [name or {name, color}, ...]` and `ignore_index` (255 when absent)."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SegtoolError("no such file", where=path, mend=_EXAMPLE) from error
    except UnicodeDecodeError as error:
        raise SegtoolError("not UTF-8", where=f"{path}, byte {error.start}", mend="save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise SegtoolError("not valid YAML", where=f"{path}{_place(error)}", mend=_EXAMPLE) from error
    entries = data.get("classes") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise SegtoolError("no list of classes", where=path, mend=_EXAMPLE)
    for key in data:
        if key not in ("classes", "ignore_index"):
            raise unknown(f"key in {path}", str(key), ["classes", "ignore_index"])
    if len(entries) > MOST_CLASSES:
        raise too_many_classes(len(entries), path)
    ignore_index = data.get("ignore_index", 255)
    if not isinstance(ignore_index, int) or isinstance(ignore_index, bool):
        raise SegtoolError("ignore_index is not a number", where=path, mend="255 is usual")
    return [_class(index, entry, path) for index, entry in enumerate(entries)], ignore_index


def _class(index: int, entry: object, path: Path) -> ClassInfo:
    fields = entry if isinstance(entry, dict) else {"name": entry}
    name = fields.get("name", "")
    if not isinstance(name, str):  # what YAML makes of no, on, 1, null and the like
        what = f"the name of class {index} is {name!r} to YAML, of type {type(name).__name__}"
        raise SegtoolError(what, where=path, mend='quote it, such as: classes: ["no", "on", "1"]')
    try:
        return ClassInfo(**{"id": index, "color": voc_color(index), **fields})
    except (ValidationError, TypeError) as error:
        what = f"class {index} is not a name or a name with a color"
        if set(fields) == {"name", "color"}:
            what = f"the color of class {index}, {name}, is {fields['color']!r}, not three numbers from 0 to 255"
        raise SegtoolError(what, where=path, mend=_EXAMPLE) from error


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f", line {mark.line + 1}"
