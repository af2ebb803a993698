"""What is segmented of a folder, and how results are named: one rule for every command."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from segtool.errors import SegtoolError
from segtool.formats import IMAGE_SUFFIXES, INSTALL_HEIC, VIDEO_SUFFIXES, is_heic_unread

_NAMED = 3  # files that a line names, of those that were left alone


class Found(NamedTuple):
    """The files of a folder and its subfolders: sorted, relative to it, with slashes. Hidden ones are left out.

    Attributes:
        others: neither images nor videos, by their names.
    """

    images: list[str]
    videos: list[str]
    others: list[str]


def sort_out(paths: Iterable[str]) -> Found:
    """Images, videos and others among relative paths."""
    found = Found([], [], [])
    for path in sorted(paths):
        if not any(_is_hidden(part) for part in path.split("/")):
            suffix = PurePosixPath(path).suffix.lower()
            kind = found.images if suffix in IMAGE_SUFFIXES else found.videos if is_video(path) else found.others
            kind.append(path)
    return found


def is_video(path: str | Path) -> bool:
    """Whether a file is named as a video."""
    return PurePosixPath(path).suffix.lower() in VIDEO_SUFFIXES


def find(folder: Path, without: Path | None = None) -> Found:
    """The files of a folder and all folders below it.

    Args:
        without: a folder that is not looked into; results lie there.

    Raises:
        SegtoolError: no such folder, or one that cannot be listed.
    """
    if not folder.is_dir():
        raise SegtoolError("no such folder", where=folder)
    seen = {without.resolve()} if without is not None else set()
    return sort_out(_walk(folder, seen))


def _walk(folder: Path, seen: set[Path]) -> Iterator[str]:
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_unlisted):
        here = Path(place)
        folders.sort()  # which of a folder and a link to it comes first is not up to the file system
        resolved = here.resolve()
        if resolved in seen:  # by a link that leads back, too
            folders.clear()
            continue
        seen.add(resolved)
        yield from ((here / name).relative_to(folder).as_posix() for name in files)


def _unlisted(error: OSError) -> None:
    raise SegtoolError("cannot list the folder", where=error.filename, mend=error.strerror) from error


def _is_hidden(part: str) -> bool:
    return part == "__MACOSX" or (part.startswith(".") and part != "..")


def result_names(
    paths: Sequence[str], *, kept: Mapping[str, str] | None = None, taken: Iterable[str] = ()
) -> list[str]:
    """Where the results of each path lie, without their endings: x/a for x/a.jpg.

    Where two would have one name, it has the suffix too (x/a_jpg, x/a_png), and where that is taken a number. Names
    that differ in their case alone are one name, as on many systems.

    Args:
        paths: relative, with slashes; one may be there several times.
        kept: names that some paths have already.
        taken: names that no path may get.
    """
    plain = [str(PurePosixPath(path).with_suffix("")) for path in paths]
    times = Counter(name.casefold() for name in plain)
    names = [(kept or {}).get(path) for path in paths]
    used = {name.casefold() for name in (*taken, *(name for name in names if name is not None))}
    # First those that nobody else claims: they keep their names, whatever others are called.
    for place, name in enumerate(plain):
        if names[place] is None and times[name.casefold()] == 1 and name.casefold() not in used:
            names[place] = name
            used.add(name.casefold())
    return [
        name or _free(f"{short}_{PurePosixPath(path).suffix[1:]}", used)
        for name, short, path in zip(names, plain, paths, strict=True)
    ]


def _free(name: str, used: set[str]) -> str:
    """The name, or with the first number that makes it new; it is used then."""
    number, free = 1, name
    while free.casefold() in used:
        number += 1
        free = f"{name}_{number}"
    used.add(free.casefold())
    return free


def left_alone(others: Sequence[str]) -> str:
    """The end of a line that says how many images were segmented: how many files were not; empty if all were."""
    return f" ({said_of(others)} left alone{_named(others)})" if others else ""


def no_images(where: object, others: Sequence[str]) -> SegtoolError:
    """The error for a folder without images."""
    mend = f"there is {said_of(others)}{_named(others)}" if others else None
    return SegtoolError("no images", where=where, mend=mend)


def said_of(others: Sequence[str]) -> str:
    """How many other files there are, in words."""
    return f"{len(others)} other file{'s' if len(others) > 1 else ''}"


def _named(others: Sequence[str]) -> str:
    unread = [name for name in others if is_heic_unread(name)]
    names = [*unread, *(name for name in others if name not in set(unread))]
    some = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f": {some}" + (f"; HEIC: {INSTALL_HEIC}" if unread else "")
