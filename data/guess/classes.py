"""The classes of masks, and what classes.yaml has to say so that masks tell them."""

from collections.abc import Sequence
from typing import NamedTuple

from segtool.card import ClassInfo
from segtool.data.description import VOID
from segtool.data.guess.contents import Contents
from segtool.data.guess.names import Names
from segtool.data.label_values import color_text, packed
from segtool.palette import voc_color

_VOIDS = ("void", "unlabeled", "unlabelled", "unlabeled pixel", "ignore", "unknown")
_DULL = 48  # sum of differences, up to which two colours of a palette look alike
_VALUE_OF_VOID = 255


class Classes(NamedTuple):
    """The classes.

    Attributes:
        infos: in order.
        keys: `values` and `ids` of classes.yaml.
        remarks: what was taken for what, in lines.
    """

    infos: list[ClassInfo]
    keys: dict[str, object]
    remarks: list[str]


def classes_of(seen: Contents, names: Names, each_class: Sequence[str]) -> Classes:
    """The classes of masks.

    Args:
        seen: what they hold.
        names: what a list beside them says.
        each_class: the names that masks of one class each have in their paths.
    """
    if each_class:
        background = [] if "background" in each_class else ["background"]
        return Classes(_infos([*background, *each_class]), {}, [])
    if seen.kind == "binary":
        two = len(names.ordered) == 2
        remarks = [] if two else _unused(names, 2)
        return Classes(_infos(names.ordered if two else ["background", "thing"]), {"values": "binary"}, remarks)
    return _of_colors(seen, names) if seen.kind == "colors" else _of_ids(seen, names)


def _of_colors(seen: Contents, names: Names) -> Classes:
    colors = [*names.colors, *sorted(set(seen.values) - set(names.colors))]
    called = [names.colors.get(color, f"class_{place}") for place, color in enumerate(colors)]
    void = {color_text(color): VOID for color, name in zip(colors, called, strict=True) if _is_void(name)}
    kept = [(color, name) for color, name in zip(colors, called, strict=True) if not _is_void(name)]
    different = _different([name for _, name in kept])
    infos = [
        ClassInfo(id=i, name=name, color=(color >> 16, color >> 8 & 255, color & 255))
        for i, (name, (color, _)) in enumerate(zip(different, kept, strict=True))
    ]
    keys: dict[str, object] = {"values": "colors"}
    remarks = [] if names.colors else _unused(names, len(colors))
    return Classes(infos, keys | ({"ids": void} if void else {}), remarks)


def _of_ids(seen: Contents, names: Names) -> Classes:
    values = sorted(seen.values)
    numbered = dict(names.numbered) or _by_palette(seen, names)
    voided = _VALUE_OF_VOID in values and len(values) > 2 and _VALUE_OF_VOID not in numbered
    labels = [value for value in values if value != _VALUE_OF_VOID or not voided]
    most = max(labels, default=0)
    if numbered and set(labels) <= set(numbered):
        labels = sorted(numbered)
    elif names.ordered and most < len(names.ordered):
        labels, numbered = [*range(len(names.ordered))], dict(enumerate(names.ordered))
    else:
        numbered = {}
        if most < 2 * len(labels) and most < _VALUE_OF_VOID:  # ids in a row, some of which these masks may lack
            labels = [*range(most + 1)]
    remarks = [] if numbered else _unused(names, len(labels))
    called = [numbered.get(value, f"class_{value}") for value in labels]
    if len(called) == 2 and not numbered:
        called = ["background", "thing"]
    void = [value for value, name in zip(labels, called, strict=True) if _is_void(name)]
    kept = [(value, name) for value, name in zip(labels, called, strict=True) if value not in void]
    infos = _infos(_different([name for _, name in kept]), [seen.palette.get(value) for value, _ in kept])
    if voided:
        remarks.append(f"{_VALUE_OF_VOID} is taken for void")
    if [value for value, _ in kept] == [*range(len(kept))] and not void:
        return Classes(infos, {}, remarks)
    ids = {value: info.name for (value, _), info in zip(kept, infos, strict=True)}
    void += [_VALUE_OF_VOID] * voided
    return Classes(infos, {"ids": {**ids, **dict.fromkeys(void, VOID)}}, remarks)


def _by_palette(seen: Contents, names: Names) -> dict[int, str]:
    """Names of ids by the colours that a list and the masks' palettes have in common."""
    if not names.colors:
        return {}
    by_color = {packed(color): value for value, color in sorted(seen.palette.items(), reverse=True)}
    found = {by_color[color]: name for color, name in names.colors.items() if color in by_color}
    return found if set(seen.values) <= found.keys() | {_VALUE_OF_VOID} else {}


def _unused(names: Names, values: int) -> list[str]:
    if names.path is None:
        return []
    listed = len(names.ordered or names.numbered or names.colors)
    return [f"{names.path.name} is not used: it has {listed} names, and masks have {values} values"]


def _is_void(name: str) -> bool:
    return name.lower().strip("_ ") in _VOIDS


def _infos(names: Sequence[str], colors: Sequence[tuple[int, int, int] | None] = ()) -> list[ClassInfo]:
    """Classes in the colours of a palette, if they can be told apart, or else in those of PASCAL VOC."""
    given = [color for color in colors if color is not None]
    usable = len(given) == len(names) and not _alike(given)
    return [ClassInfo(id=i, name=n, color=given[i] if usable else voc_color(i)) for i, n in enumerate(names)]


def _alike(colors: Sequence[tuple[int, int, int]]) -> bool:
    pairs = ((a, b) for i, a in enumerate(colors) for b in colors[:i])
    return any(sum(abs(x - y) for x, y in zip(a, b, strict=True)) < _DULL for a, b in pairs)


def _different(names: Sequence[str]) -> list[str]:
    """The names, those that occur again with their number."""
    return [f"{name} {i}" if name in names[:i] else name for i, name in enumerate(names)]
