"""A folder with `train/images`, `train/masks`, `val/images`, `val/masks` and a `classes.yaml`."""

from pathlib import Path

import yaml
from pydantic import ValidationError

from segtool.card import ClassInfo
from segtool.errors import SegtoolError
from segtool.palette import voc_color
from segtool.train.data.base import SegmentationDataset, register_dataset
from segtool.train.data.pairs import PairsDataset, paired_by_stem, require_folder

_EXAMPLE = "write one such as: classes: [background, {name: road, color: [128, 64, 128]}]"


@register_dataset("folder")
def open_folder(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `folder:PATH`; PATH/classes.yaml names the classes and, if it is not 255, the ignore_index.

    Images and masks are paired by their file's stem; masks hold class ids.
    """
    root = require_folder(root, "folder")
    classes, ignore_index = read_classes(root / "classes.yaml")
    pairs, problems = paired_by_stem(root / split / "images", root / split / "masks")
    return PairsDataset("folder", split, classes, pairs, problems, ignore_index=ignore_index)


def read_classes(path: Path) -> tuple[list[ClassInfo], int]:
    """Reads `classes: [name or {name, color}, ...]` and `ignore_index` (255 when absent)."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SegtoolError("no such file", where=path, mend=_EXAMPLE) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SegtoolError("not valid YAML", where=path, mend=_EXAMPLE) from error
    entries = data.get("classes") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise SegtoolError("no list of classes", where=path, mend=_EXAMPLE)
    classes = []
    for index, entry in enumerate(entries):
        fields = entry if isinstance(entry, dict) else {"name": str(entry)}
        try:
            classes.append(ClassInfo(**{"id": index, "color": voc_color(index), **fields}))
        except (ValidationError, TypeError) as error:
            raise SegtoolError(
                f"class {index} is not a name or a name with a color", where=path, mend=_EXAMPLE
            ) from error
    ignore_index = data.get("ignore_index", 255)
    if not isinstance(ignore_index, int):
        raise SegtoolError("ignore_index is not a number", where=path, mend="255 is usual")
    return classes, ignore_index
