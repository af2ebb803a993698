"""Names of classes from the lists that lie beside masks."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from segtool.data.label_values import packed
from segtool.data.reading import read_text
from segtool.errors import SegtoolError

_LISTS = ("classes.txt", "labels.txt", "class_names.txt", "names.txt", "codes.txt")
_NUMBERED = ("_classes.csv", "classes.csv", "labels.csv")
_COLORS = (
    "labelmap.txt",
    "class_dict.csv",
    "label_colors.txt",
    "labels_class_dict.csv",
    "color_map.csv",
    "colormap.txt",
)
_RGB = re.compile(r"\b([0-9]{1,3})[\s,;]+([0-9]{1,3})[\s,;]+([0-9]{1,3})\b")


class Names(NamedTuple):
    """What a list says: names in the order of their ids, of ids, or of colours 0xRRGGBB; and where it lies."""

    ordered: list[str]
    colors: dict[int, str]
    path: Path | None
    numbered: Mapping[int, str] = MappingProxyType({})


def names_beside(root: Path) -> Names:
    """The first list of classes in a folder that can be read; nothing if there is none."""
    for name in _COLORS:
        colors = _colors(root / name) if (root / name).is_file() else {}
        if colors:
            return Names([*colors.values()], colors, root / name)
    for name in _NUMBERED:
        numbered = _numbers(root / name) if (root / name).is_file() else {}
        if numbered:
            return Names([], {}, root / name, numbered)
    for name in _LISTS:
        lines = _lines(root / name) if (root / name).is_file() else []
        if lines:
            return Names(lines, {}, root / name)
    return Names([], {}, None)


def _lines(path: Path) -> list[str]:
    try:
        text = read_text(path)
    except SegtoolError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _colors(path: Path) -> dict[int, str]:
    """Names of colours: name:r,g,b:: of CVAT; name,r,g,b of tables; r g b name of CamVid."""
    found: dict[int, str] = {}
    lines = _lines(path)
    rows = [",".join(row) for row in csv.reader(lines)] if path.suffix == ".csv" else lines
    for row in rows:
        color = _RGB.search(row)
        if color is None:
            continue
        name = (row[: color.start()] + row[color.end() :]).strip(" \t,;:")
        values = [int(color[i]) for i in (1, 2, 3)]
        if name and max(values) < 256:
            found.setdefault(packed(values), name)
    return found


def _numbers(path: Path) -> dict[int, str]:
    """Names of ids, from a table of two columns."""
    found: dict[int, str] = {}
    for line in _lines(path):
        cells = [cell.strip() for cell in re.split("[,;\t]", line)]
        numbers = [cell for cell in cells if cell.isdigit()]
        names = [cell for cell in cells if cell and not cell.isdigit()]
        if len(numbers) == len(names) == 1:
            found.setdefault(int(numbers[0]), names[0])
    return found
