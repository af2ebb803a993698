"""Writing files whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segtool.errors import SegtoolError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` (same suffix) and renames it to `path` if nothing fails.

    Raises:
        SegtoolError: the folder cannot be written to.
    """
    ensure_folder(path.parent)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None or Path(error.filename).parent.resolve() != path.parent.resolve():
            raise
        raise SegtoolError("cannot write", where=path, mend=f"{error.strerror}; choose another --out") from error
    finally:
        temporary.unlink(missing_ok=True)


def ensure_folder(folder: Path) -> Path:
    """Makes the folder and proves that a file can be written there."""
    probe = folder / f".segtool.{os.getpid()}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SegtoolError(
            "cannot write to the folder", where=folder, mend=f"{error.strerror}; choose another --out"
        ) from error
    return folder


def write_text(path: Path, text: str) -> None:
    """Writes text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Writes JSON atomically, indented."""
    write_text(path, json.dumps(data, indent=2) + "\n")
