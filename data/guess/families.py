"""Which files of a folder are images, which are masks, and how their names belong together."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from segtool.data.guess.paths import IMAGES, MASKS, File, is_word, sorted_out

_SHARE = 0.5  # of the smaller family's names that must have a partner
_CLOSE = 0.25  # of a score: those that are as likely
_JPEG = (".jpg", ".jpeg")
Key = tuple[str, str, str]  # split, group, what {stem} stands for


class Family(NamedTuple):
    """Files whose paths differ in split, group and name alone.

    Attributes:
        folder: with `{split}`, and `{group}` or `{class}`.
        prefix, suffix: of all names, around `{stem}`; the suffix may end in that of the files.
        members: the files of each key.
    """

    folder: str
    prefix: str
    suffix: str
    members: dict[Key, list[File]]

    @property
    def pattern(self) -> str:
        """Where they lie, as classes.yaml says it."""
        several = any(len(files) > 1 for files in self.members.values())  # masks of one object each, of any name
        name = f"{self.prefix}{{stem}}{self.suffix}"
        if several and not self.each_class and "*" not in name:
            name = "*"
        return f"{self.folder}/{name}" if self.folder else name

    @property
    def each_class(self) -> bool:
        """Whether there are masks for each class."""
        return "{class}" in self.folder + self.suffix

    @property
    def paths(self) -> list[str]:
        """All of them."""
        return sorted(file.path for files in self.members.values() for file in files)


class Pairing(NamedTuple):
    """Images with masks."""

    images: Family
    masks: Family


class _Scored(NamedTuple):
    score: float
    pairing: Pairing


def pairings(paths: Iterable[str]) -> list[Pairing]:
    """All ways in which files can be images and masks, the likeliest first, and those that are about as likely.

    Args:
        paths: relative, with slashes.
    """
    families: dict[str, list[File]] = defaultdict(list)
    for file in sorted_out(paths):
        families[file.folder].append(file)
    found: list[_Scored] = []
    for first in sorted(families):
        found += _inside(families[first])
        for second in sorted(families):
            if first != second and (("{split}" in first) == ("{split}" in second)):
                found += _between(families[first], families[second])
    best = max((scored.score for scored in found), default=0.0)
    likely = [scored for scored in found if scored.score > best - _CLOSE]
    return [scored.pairing for scored in sorted(likely, key=lambda scored: -scored.score)]


def _between(images: Sequence[File], masks: Sequence[File]) -> list[_Scored]:
    """Files of one folder as images of those of another one; names may differ by what all of them begin or end with."""
    both = _around(images), _around(masks)
    ways = (
        _paired(images, masks, ("", ""), ("", "")),
        _paired(images, masks, *_differing(*both)),
        _for_all(images, masks),
    )
    return sorted((way for way in ways if way is not None), key=lambda way: -way.score)[:1]


def _paired(
    images: Sequence[File], masks: Sequence[File], around_images: tuple[str, str], around_masks: tuple[str, str]
) -> _Scored | None:
    mine, theirs = _family(images, around_images), _family(masks, around_masks)
    if "{group}" in theirs.folder and "{group}" not in mine.folder:  # a folder for each class
        members: dict[Key, list[File]] = defaultdict(list)
        for (split, _, stem), files in theirs.members.items():
            members[split, "", stem] += files
        theirs = theirs._replace(folder=theirs.folder.replace("{group}", "{class}"), members=dict(members))
    shared = len(mine.members.keys() & theirs.members.keys())
    share = shared / max(1, min(len(mine.members), len(theirs.members)))
    if share < _SHARE:
        return None
    return _Scored(share + _likeness(mine, theirs), Pairing(mine, theirs))


def _for_all(images: Sequence[File], masks: Sequence[File]) -> _Scored | None:
    """All masks of a group's folder as those of the only image of that group."""
    mine, theirs = _family(images, ("", "")), _family(masks, ("", ""))
    if "{group}" not in mine.folder or "{group}" not in theirs.folder or len(theirs.members) <= len(mine.members):
        return None
    images_of = {(split, group) for split, group, _ in mine.members}
    if len(images_of) != len(mine.members):
        return None
    by_group: dict[tuple[str, str], list[File]] = defaultdict(list)
    for (split, group, _), files in theirs.members.items():
        by_group[split, group] += files
    members = {key: by_group[key[:2]] for key in mine.members if key[:2] in by_group}
    if len(members) < _SHARE * len(mine.members):
        return None
    theirs = theirs._replace(members=members)
    return _Scored(1 + _likeness(mine, theirs), Pairing(mine, theirs))


def _inside(files: Sequence[File]) -> list[_Scored]:
    """Files of one folder whose names differ by what masks have before or behind them; or by their format alone."""
    stems: dict[Key, list[File]] = defaultdict(list)
    for file in files:
        stems[file.split, file.group, file.stem].append(file)
    ends: dict[tuple[str, str], int] = defaultdict(int)
    for split, group, stem in stems:
        for match in re.finditer(r"[_\-. ]|(?<=[0-9])(?=[A-Za-z])", stem):
            ends["", stem[match.start() :]] += (split, group, stem[: match.start()]) in stems
            ends[stem[: match.end()], ""] += (split, group, stem[match.end() :]) in stems
    usual = [around for around, count in ends.items() if count and count >= _SHARE * len(stems) / 2]
    more = _several_masks(files, usual, [around for around, count in ends.items() if count])
    if more is not None:
        return [more]
    found = []
    for around in usual:
        masks = [file for file in files if _has(file, around)]
        images = [file for file in files if not any(_has(file, other) for other in usual)]
        pairing = Pairing(_family(images, ("", "")), _family(masks, around))
        found.append(_Scored(1 + 0.5 * is_word("".join(around), MASKS), pairing))
    return found or _by_format(stems)


def _several_masks(
    files: Sequence[File], usual: Sequence[tuple[str, str]], ends: Sequence[tuple[str, str]]
) -> _Scored | None:
    """Of an image several masks with suffixes: img_car and img_tree of each class, img_mask and img_mask_1 of each
    object."""
    suffixes = sorted({suffix for prefix, suffix in ends if not prefix and suffix})
    common = next((suffix for prefix, suffix in usual if not prefix and suffix), None)
    if common is None or len(suffixes) < 2:
        return None
    objects = [suffix for suffix in suffixes if suffix.startswith(common)]
    if len(objects) > 1:
        return _suffixed(files, objects, f"{common}*", lambda suffix: "")
    classes = [
        suffix for prefix, suffix in usual if not prefix and suffix[:1] in "_-." and suffix.count(suffix[0]) == 1
    ]
    if len(classes) > 1:
        return _suffixed(files, classes, classes[0][0] + "{class}", lambda suffix: suffix[1:])
    return None


def _suffixed(
    files: Sequence[File], suffixes: Sequence[str], pattern: str, group_of: Callable[[str], str]
) -> _Scored | None:
    images: list[File] = []
    members: dict[Key, list[File]] = defaultdict(list)
    for file in files:
        suffix = next((s for s in sorted(suffixes, key=len, reverse=True) if _has(file, ("", s))), None)
        if suffix is None:
            images.append(file)
        else:
            stem = file.stem[: len(file.stem) - len(suffix)]
            members[file.split, file.group, stem].append(file._replace(group=group_of(suffix) or file.group))
    if not images:
        return None
    return _Scored(1.5, Pairing(_family(images, ("", "")), Family(files[0].folder, "", pattern, dict(members))))


def _by_format(stems: dict[Key, list[File]]) -> list[_Scored]:
    """img.jpg with img.png: the JPEG is the image."""
    doubled = {key: files for key, files in stems.items() if len(files) == 2}
    if len(doubled) <= _SHARE * len(stems):
        return []
    endings = {PurePosixPath(file.path).suffix for files in doubled.values() for file in files}
    jpegs = [ending for ending in endings if ending.lower() in _JPEG]
    if len(endings) != 2 or len(jpegs) != 1:
        return []
    folder = next(iter(doubled.values()))[0].folder
    parts = [
        Family(folder, "", ending, {k: [f for f in files if f.path.endswith(ending)] for k, files in doubled.items()})
        for ending in (*jpegs, *(endings - {*jpegs}))
    ]
    return [_Scored(1.0, Pairing(*parts))]


def _has(file: File, around: tuple[str, str]) -> bool:
    prefix, suffix = around
    return file.stem.startswith(prefix) and file.stem.endswith(suffix) and len(file.stem) > len(prefix) + len(suffix)


def _around(files: Sequence[File]) -> tuple[str, str]:
    """What all names begin and end with."""
    stems = [file.stem for file in files]
    prefix = _common_start(stems)
    return prefix, _common_start([stem[len(prefix) :][::-1] for stem in stems])[::-1]


def _common_start(texts: Sequence[str]) -> str:
    low, high = min(texts), max(texts)
    different = (i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b)
    return low[: next(different, len(low))]


def _differing(first: tuple[str, str], second: tuple[str, str]) -> tuple[tuple[str, str], tuple[str, str]]:
    """Beginnings and ends without those that both share, and without digits, which number the images."""
    starts = [around[0].rstrip("0123456789") for around in (first, second)]
    ends = [around[1].lstrip("0123456789") for around in (first, second)]
    starts = starts if starts[0] != starts[1] else ["", ""]
    ends = ends if ends[0] != ends[1] else ["", ""]
    return (starts[0], ends[0]), (starts[1], ends[1])


def _family(files: Sequence[File], around: tuple[str, str]) -> Family:
    members: dict[Key, list[File]] = defaultdict(list)
    for file in files:
        if around == ("", "") or _has(file, around):
            stem = file.stem[len(around[0]) : len(file.stem) - len(around[1])]
            members[file.split, file.group, stem].append(file)
    return Family(files[0].folder if files else "", *around, dict(members))


def _likeness(images: Family, masks: Family) -> float:
    """How much the names say that one holds images and the other one masks."""
    said = is_word(masks.pattern, MASKS) + is_word(images.pattern, IMAGES) - is_word(images.pattern, MASKS)
    return 0.5 * said + 0.5 * (_jpegs(images) - _jpegs(masks))


def _jpegs(family: Family) -> float:
    """The share of JPEGs, which are hardly ever masks."""
    paths = family.paths
    return sum(path.lower().endswith(_JPEG) for path in paths) / max(1, len(paths))
