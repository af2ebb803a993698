"""Where the files of a dataset lie: paths with names in braces, such as images/{split}/{stem}.jpg."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from segtool.errors import SegtoolError
from segtool.formats import IMAGE_SUFFIXES

_SPECIAL = re.compile(r"\{(\w+)\}|\*+|\?")
_ANY_SUFFIX, ANY_FOLDERS = ".*", "**"


class Match(NamedTuple):
    """A file, and what the names in braces stand for in its path."""

    path: Path
    fields: dict[str, str]


class Matches(NamedTuple):
    """The files that a pattern describes, sorted; and the other entries of the folders in which they lie."""

    found: list[Match]
    others: list[Path]


class Pattern:
    """A path relative to a dataset's folder, with slashes.

    `{name}` stands for any part of one file's or folder's name, `*` and `?` are as in a shell, a folder `**` is any
    number of folders, and is among the names. A last part without a suffix, or with the suffix `.*`, is an image of any
    format.

    Raises:
        SegtoolError: the path is absolute, leads upwards, is empty, or has braces without a name.
    """

    def __init__(self, text: str, where: object) -> None:
        parts = text.split("/")
        if not text or text.startswith("/") or ".." in parts or "" in parts:
            raise SegtoolError(
                f"{text!r} is no path below the dataset's folder", where=where, mend="such as images/{stem}"
            )
        if re.search(r"[{}]", _SPECIAL.sub("", text)):
            raise SegtoolError(f"{text!r} has braces without a name", where=where, mend="such as {stem}.png")
        self.text = text
        self.names = tuple(dict.fromkeys(name or ANY_FOLDERS for name in re.findall(r"\{(\w+)\}|\*\*/", text)))
        self._parts = parts

    @property
    def any_suffix(self) -> bool:
        """Whether images of all formats match."""
        return self._parts[-1].endswith(_ANY_SUFFIX) or "." not in _SPECIAL.sub("", self._parts[-1])

    def folder(self, known: Mapping[str, str]) -> str:
        """The folders that come before the first unknown part."""
        parts = _filled(self.text, known).split("/")[:-1]
        special = (i for i, part in enumerate(parts) if _SPECIAL.search(part))
        return "/".join(parts[: next(special, len(parts))])

    def example(self, fields: Mapping[str, str]) -> str:
        """The path for these fields; what they leave open stays as it is, but for an image's suffix: .png."""
        text = _filled(self.text, fields)
        return text.removesuffix(_ANY_SUFFIX) + ".png" if self.any_suffix else text

    def find(self, root: Path, known: Mapping[str, str]) -> Matches:
        """All files below `root` that match.

        Args:
            known: what some of the names stand for.

        Raises:
            SegtoolError: a folder cannot be listed.
        """
        *folders, last = _filled(self.text, known).split("/")
        expression = _expression(last.removesuffix(_ANY_SUFFIX) if self.any_suffix else last, self.any_suffix)
        found, others = [], []
        for folder, fields in _folders(root, folders, {}):
            for entry in _entries(folder):
                matched = expression.fullmatch(entry.name)
                if matched is None or not _agree(fields, matched.groupdict()) or entry.is_dir():
                    others.append(entry)
                else:
                    found.append(Match(entry, {**fields, **matched.groupdict(), **known}))
        return Matches(found, others)


def _filled(text: str, fields: Mapping[str, str]) -> str:
    if ANY_FOLDERS in fields:
        text = text.replace(f"{ANY_FOLDERS}/", f"{fields[ANY_FOLDERS]}/".lstrip("/"))
    return re.sub(r"\{(\w+)\}", lambda m: fields.get(m[1], m[0]), text)


def _expression(part: str, any_suffix: bool = False) -> re.Pattern[str]:
    """A regular expression for one part of a path."""
    pieces, place, seen = [], 0, set[str]()
    for special in _SPECIAL.finditer(part):
        pieces.append(re.escape(part[place : special.start()]))
        name, place = special[1], special.end()
        if name is None:
            pieces.append("[^/]" if special[0] == "?" else "[^/]*")
        else:
            pieces.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+)")
            seen.add(name)
    pieces.append(re.escape(part[place:]))
    if any_suffix:
        suffixes = "|".join(re.escape(suffix) for suffix in IMAGE_SUFFIXES)
        pieces.append(f"(?i:{suffixes})")
    return re.compile("".join(pieces), re.DOTALL)


def _folders(root: Path, parts: Sequence[str], fields: dict[str, str]) -> Iterator[tuple[Path, dict[str, str]]]:
    """The folders that the parts describe, each with what the names stand for."""
    if not parts:
        yield root, fields
        return
    first, rest = parts[0], parts[1:]
    if first == ANY_FOLDERS:
        for folder, below in _all_below(root):
            yield from _folders(folder, rest, {**fields, ANY_FOLDERS: below})
        return
    if not _SPECIAL.search(first):
        if (root / first).is_dir():
            yield from _folders(root / first, rest, fields)
        return
    expression = _expression(first)
    for entry in _entries(root):
        matched = expression.fullmatch(entry.name) if entry.is_dir() else None
        if matched and _agree(fields, matched.groupdict()):
            yield from _folders(entry, rest, {**fields, **matched.groupdict()})


def _all_below(root: Path, below: str = "", seen: frozenset[Path] = frozenset()) -> Iterator[tuple[Path, str]]:
    """The folder and all below it, each with its path from there; links that lead back are not followed."""
    resolved = root.resolve()
    if resolved in seen:
        return
    yield root, below
    for entry in _entries(root):
        if entry.is_dir():
            yield from _all_below(entry, f"{below}/{entry.name}".lstrip("/"), seen | {resolved})


def _agree(fields: Mapping[str, str], found: Mapping[str, str]) -> bool:
    return all(fields.get(name, value) == value for name, value in found.items())


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, sorted."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise SegtoolError("cannot list the folder", where=folder, mend=error.strerror) from error
