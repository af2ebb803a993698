"""Writing files whole or not at all."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from segtool.errors import NoMoreRoom, SegtoolError

_TEMPORARY = re.compile(r"\.segtool-[0-9a-f]{24}\.tmp(\..*)?", re.DOTALL)
_OLD = 7 * 24 * 60 * 60  # seconds; nothing takes that long to write, even on a machine that sleeps for a weekend
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # such errors name no file
_FOR_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # such errors meet the next file, too


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` (same suffix) and renames it to `path` if nothing fails.

    Threads, processes and machines that share the folder do not get in each other's way.

    Raises:
        SegtoolError: the folder cannot be written to, or is full.
    """
    with _writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        elsewhere = error.filename is None or Path(error.filename).parent.resolve() != path.parent.resolve()
        if elsewhere and error.errno not in _FULL:
            raise
        raise _refused("cannot write", path, error) from error
    finally:
        with suppress(OSError):  # what went wrong is to be seen, not that nothing is there to be removed
            temporary.unlink()


def temporary_path(path: Path) -> Path:
    """A hidden path beside `path` that nobody else uses, with its suffix."""
    # Random: threads have one process number, and machines that share a folder may have the same ones.
    return path.with_name(f".segtool-{secrets.token_hex(12)}.tmp{path.suffix}")


def ensure_folder(folder: Path) -> Path:
    """Makes the folder and proves that a file can be written there; what commands that were killed left in it goes.

    Raises:
        SegtoolError: it cannot be.
    """
    probe = temporary_path(folder / "probe")
    with _writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    _remove_leftovers(folder)
    return folder


def _remove_leftovers(folder: Path) -> None:
    try:
        paths = [*folder.iterdir()]
    except OSError:  # a folder that can be written to, and not read
        return
    for path in paths:
        if _TEMPORARY.fullmatch(path.name) is None:
            continue
        with suppress(OSError):  # another command may be at it, too
            if time.time() - path.lstat().st_mtime < _OLD:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refused("cannot write to the folder", folder, error) from error


def _refused(what: str, where: Path, error: OSError) -> SegtoolError:
    kind = NoMoreRoom if error.errno in _FOR_ALL else SegtoolError
    return kind(what, where=where, mend=f"{error.strerror}; choose another --out")


def refuse_pipe(path: Path) -> None:
    """Whatever opens a pipe, a socket or a device may wait for ever; a path that is not there is left to who opens it.

    Raises:
        SegtoolError: the path is there and no file.
    """
    if path.exists() and not path.is_file():
        raise SegtoolError("not a file", where=path, mend="remove it")


def write_text(path: Path, text: str) -> None:
    """Writes text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Writes bytes atomically.

    Pictures come this way, too: what Pillow itself writes as JPEG is cut without an error where a disk is full.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, data: Any) -> None:
    """Writes JSON atomically, indented."""
    write_text(path, json.dumps(data, indent=2) + "\n")


def digest(path: Path) -> str:
    """SHA-256 of a model's file; together with the weights beside it (NAME.data) where there are any.

    Raises:
        SegtoolError: no such file.
    """
    if not path.is_file():
        raise SegtoolError("no such model", where=path)
    weights = path.with_name(f"{path.name}.data")
    found = [sha256(part) for part in (path, weights) if part.is_file()]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of one file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
