"""Reading the files that annotation tools write, which may hold anything."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from segtool.errors import SegtoolError
from segtool.files import refuse_pipe
from segtool.images import list_images


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        SegtoolError: missing, unreadable, or not UTF-8.
    """
    refuse_pipe(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SegtoolError("no such file", where=path) from error
    except OSError as error:
        raise SegtoolError(f"cannot be read ({error.strerror})", where=path) from error
    except UnicodeDecodeError as error:
        raise SegtoolError("not UTF-8", where=f"{path}, byte {error.start}", mend="export it again") from error


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        SegtoolError: missing, unreadable, or not JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        place = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise SegtoolError("not valid JSON", where=f"{path}{place}", mend="export it again") from error


def read_yaml(path: Path) -> Any:
    """A YAML file.

    Raises:
        SegtoolError: missing, unreadable, or not YAML.
    """
    try:
        return yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise SegtoolError("not valid YAML", where=path) from error


def entries(data: Any, key: str, where: object, kind: str) -> list[dict[str, Any]]:
    """The objects in a list that must be there.

    Raises:
        SegtoolError: there is no such list, or something else in it.
    """
    found = data.get(key) if isinstance(data, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise SegtoolError(f"no list of {key}", where=where, mend=f"is it a {kind} file?")
    return found


def size_of(data: dict[str, Any], height: str, width: str) -> tuple[int, int] | None:
    """A (height, width) that a file states; None if it does not."""
    found = data.get(height), data.get(width)
    if all(isinstance(side, (int, float)) and not isinstance(side, bool) and 0 < side < 1e6 for side in found):
        return int(found[0]), int(found[1])  # type: ignore[arg-type]
    return None


class ImageFinder:
    """Finds the images that a file names: below one of several folders, by path or, failing that, by name alone.

    Args:
        folders: where to look, the likeliest first; those that are not there are left out.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
        self._by_name: dict[str, Path] | None = None

    def find(self, name: str) -> Path | None:
        """The image, or None. Names from Windows are understood; none leads to a file elsewhere."""
        relative = PurePosixPath(name.replace("\\", "/"))
        if not relative.is_absolute() and ".." not in relative.parts:
            for folder in self._folders:
                if (folder / relative).is_file():
                    return folder / relative
        if self._by_name is None:
            listed = (path for folder in reversed(self._folders) for path in list_images(folder))
            self._by_name = {path.name: path for path in listed}
        return self._by_name.get(relative.name)

    @property
    def where(self) -> str:
        """The folders, in words."""
        return ", ".join(map(str, self._folders))


def subfolders(folder: Path) -> Sequence[Path]:
    """The folders in a folder, sorted."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
