"""classes.yaml: what a dataset's classes are, where its files lie, and what its masks hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from segtool.card import ClassInfo
from segtool.data.class_list import MOST_CLASSES, too_many_classes
from segtool.data.label_values import MOST_VALUES, LabelValues, class_colors
from segtool.data.patterns import Pattern
from segtool.data.reading import read_yaml, short
from segtool.data.splits import SplitRule
from segtool.errors import SegtoolError
from segtool.palette import voc_color
from segtool.suggest import unknown

FILE = "classes.yaml"
VOID, OTHER = "void", "other"
IMAGES, MASKS = "{split}/images/{stem}", "{split}/masks/{stem}"
_KEYS = ("classes", "ignore_index", "root", "images", "masks", "values", "ids", "elsewhere", "split", "bands")
BINARY, ALL_BANDS = "binary", "all"
MASK_KEYS = ("root", "images", "masks", "values")  # of files, which annotation tools name themselves
_KINDS = ("ids", "colors", BINARY)
_EXAMPLE = "write one such as: classes: [background, {name: road, color: [128, 64, 128]}]"


class _Meanings(NamedTuple):
    """What `ids:` says of numbers, colours (0xRRGGBB) and names, and of all others, or None.

    `tool_names` are names as an annotation tool may have them: numbers and colours are names there, too.
    """

    numbers: dict[int, int]
    colors: dict[int, int]
    names: dict[str, int]
    tool_names: dict[str, int]
    other: int | None


@dataclass(frozen=True)
class Description:
    """What a classes.yaml says.

    Attributes:
        path: the file.
        root: the dataset's folder.
        classes, ignore_index: see `SegmentationDataset`.
        images, masks: where they lie below `root`.
        values: what masks hold, unless they are binary.
        layered: whether masks are binary: of one class each, or of the second one of two classes.
        names: the class (or `ignore_index`) of each text under `ids:`; `tool_names`: of each text, number and colour,
            as an annotation tool writes them.
        other: the class (or `ignore_index`) of all further names; None: they are refused.
        elsewhere: the class (or `ignore_index`) of pixels that no annotation or binary mask covers.
        split: which images belong to which split.
        bands: of image files that are read as they are: numbers, () for all; None for pictures.
        given: the keys that are there.
    """

    path: Path
    root: Path
    classes: list[ClassInfo]
    ignore_index: int
    images: Pattern
    masks: Pattern
    values: LabelValues
    layered: bool
    elsewhere: int
    split: SplitRule
    given: frozenset[str]
    names: Mapping[str, int] = field(default_factory=dict)
    tool_names: Mapping[str, int] = field(default_factory=dict)
    bands: tuple[int, ...] | None = None
    other: int | None = None


def read_description(path: Path, root: Path | None = None) -> Description:
    """Reads a classes.yaml.

    Args:
        path: the file.
        root: the dataset's folder, unless the file says so; by default the one in which it lies.

    Raises:
        SegtoolError: it cannot be read, or says something that cannot be meant; with what to write instead.
    """
    data = _read(path)
    classes, ignore_index = _classes(data, path)
    meanings = _meanings(data.get("ids"), classes, ignore_index, path)
    images = Pattern(_text(data, "images", IMAGES, path), path)
    masks = Pattern(_text(data, "masks", MASKS, path), path)
    folder = _text(data, "root", "", path) if "root" in data else None
    binary, per_class = data.get("values") == BINARY, "class" in masks.names
    return Description(
        path=path,
        root=path.parent / Path(folder).expanduser() if folder else root or path.parent,
        classes=classes,
        ignore_index=ignore_index,
        images=images,
        masks=masks,
        values=_values(data, classes, ignore_index, meanings, path),
        layered=binary or per_class,
        elsewhere=0
        if binary and not per_class and "elsewhere" not in data
        else _elsewhere(data, classes, ignore_index, path),
        split=SplitRule.parsed(data.get("split"), images.names, path),
        given=frozenset(data),
        names=meanings.names,
        tool_names=meanings.tool_names,
        bands=_bands(data.get("bands"), path),
        other=meanings.other,
    )


def _read(path: Path) -> dict[str, Any]:
    data = read_yaml(path, _EXAMPLE)
    if not isinstance(data, dict):
        raise SegtoolError("no list of classes", where=path, mend=_EXAMPLE)
    for key in data:
        if key not in _KEYS:
            raise unknown(f"key in {path}", str(key), _KEYS)
    return data


def _text(data: Mapping[str, Any], key: str, default: str, path: Path) -> str:
    value = data.get(key, default)
    if not isinstance(value, str) or not value:
        mend = "in YAML a text that begins with { needs quotes" if isinstance(value, dict) else None
        raise SegtoolError(f"{key} is {short(value)}, not a path", where=path, mend=mend)
    return value


def _bands(given: object, path: Path) -> tuple[int, ...] | None:
    if given is None or given == ALL_BANDS:
        return None if given is None else ()
    numbers = given if isinstance(given, list) else [None]
    if not numbers or not all(type(number) is int and number > 0 for number in numbers):
        mend = "bands: all, or their numbers such as bands: [4, 3, 2]; without it images are read as RGB"
        raise SegtoolError(f"bands is {short(given)}", where=path, mend=mend)
    return tuple(numbers)


def _classes(data: Mapping[str, Any], path: Path) -> tuple[list[ClassInfo], int]:
    entries = data.get("classes")
    if not isinstance(entries, list) or not entries:
        raise SegtoolError("no list of classes", where=path, mend=_EXAMPLE)
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
        what = f"the name of class {index} is {short(name)} to YAML, of type {type(name).__name__}"
        raise SegtoolError(what, where=path, mend='quote it, such as: classes: ["no", "on", "1"]')
    try:
        return ClassInfo(**{"id": index, "color": voc_color(index), **fields})
    except (ValidationError, TypeError) as error:
        what = f"class {index} is not a name or a name with a color"
        if set(fields) == {"name", "color"}:
            what = f"the color of class {index}, {name}, is {short(fields['color'])}, not three numbers from 0 to 255"
        raise SegtoolError(what, where=path, mend=_EXAMPLE) from error


def _values(
    data: Mapping[str, Any], classes: Sequence[ClassInfo], ignore_index: int, meanings: _Meanings, path: Path
) -> LabelValues:
    kind = data.get("values", "ids")
    if kind not in _KINDS:
        raise unknown("kind of values", short(kind).strip("'"), _KINDS)
    if kind == BINARY and len(classes) != 2 and "{class}" not in data.get("masks", MASKS):
        mend = "one mask for each class: masks/{class}/{stem}.png"
        raise SegtoolError(f"binary masks, and {len(classes)} classes", where=path, mend=mend)
    if kind == "colors" and meanings.numbers:
        mend = "colours are written '#ff8000'"
        raise SegtoolError("ids names numbers, and values: says colors", where=path, mend=mend)
    if kind == "colors":
        return LabelValues("colors", colors={**class_colors(classes), **meanings.colors}, other=meanings.other)
    if meanings.colors:
        raise SegtoolError("ids: names colours, and values: says ids", where=path, mend="values: colors")
    if not meanings.numbers and meanings.other is None:
        return LabelValues()
    table = meanings.numbers or {**{c.id: c.id for c in classes}, ignore_index: ignore_index}
    return LabelValues(table=table, other=meanings.other)


def _meanings(given: object, classes: Sequence[ClassInfo], ignore_index: int, path: Path) -> _Meanings:
    """What `ids:` says."""
    found = _Meanings({}, {}, {}, {}, None)
    if given is None:
        return found
    if not isinstance(given, dict):
        mend = "such as ids: {7: road, 8: road, 0: void}"
        raise SegtoolError("ids says not which class a value is", where=path, mend=mend)
    for value, name in given.items():
        label = label_of(name, classes, ignore_index, path)
        if value == OTHER:
            found = found._replace(other=label)
        elif isinstance(value, int) and not isinstance(value, bool):
            if not 0 <= value < MOST_VALUES:
                raise SegtoolError(f"ids names the value {value}", where=path, mend=f"values are 0..{MOST_VALUES - 1}")
            found.numbers[value] = label
            found.tool_names[str(value)] = label  # tools may call a label 1, and YAML takes it for a number
        elif isinstance(value, str) and (color := _color(value)) is not None:
            found.colors[color] = found.tool_names[value] = label
        elif isinstance(value, str):
            found.names[value] = found.tool_names[value] = label
        else:
            mend = "a number, a colour such as '#ff8000', the name of an annotation tool, or other"
            raise SegtoolError(f"ids names {short(value)}", where=path, mend=mend)
    return found


def _color(text: str) -> int | None:
    digits = text.removeprefix("#")
    if text == digits or len(digits) != 6:
        return None
    try:
        return int(digits, 16)
    except ValueError:
        return None


def label_of(name: object, classes: Sequence[ClassInfo], ignore_index: int, path: object) -> int:
    """The id of the class of that name, or the ignore index for `void`.

    Raises:
        SegtoolError: no such class.
    """
    ids = {c.name: c.id for c in classes}
    if name not in ids and name == VOID:
        return ignore_index
    if name not in ids:
        raise unknown(f"class in {path}", str(name), [*ids, VOID])
    return ids[str(name)]


def _elsewhere(data: Mapping[str, Any], classes: Sequence[ClassInfo], ignore_index: int, path: Path) -> int:
    background = next((c.name for c in classes if c.name.lower().strip("_") == "background"), VOID)
    return label_of(data.get("elsewhere", background), classes, ignore_index, path)
