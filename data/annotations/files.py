"""What the files of annotation tools have in common: lists of objects, sizes, names of images."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from segtool.errors import SegtoolError
from segtool.images import list_images

SPLIT_WORDS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


def split_words(split: str | None) -> tuple[str, ...]:
    """How a split may be called."""
    return () if split is None else SPLIT_WORDS.get(split, (split,))


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
        near: the folders where they should be; `far`: where else they may be. Those that are not there are left out.
        named: all names in the file: one that another image has, too, is not enough to find one.
        split: whose folder comes before all others, as several splits may have images of one name.
    """

    def __init__(
        self, near: Iterable[Path], far: Iterable[Path], named: Iterable[str], split: str | None = None
    ) -> None:
        first, second = ([folder for folder in dict.fromkeys(folders) if folder.is_dir()] for folders in (near, far))
        self._folders = [*dict.fromkeys([*first, *second])]
        words = split_words(split)
        of_split = [folder for folder in self._folders if folder.name.lower().rstrip("0123456789") in words]
        self._tiers = [of_split, first, second]
        self._named = Counter(_parts(name)[-1] for name in named if _parts(name))
        self._by_name: dict[str, list[Path]] | None = None

    def find(self, name: str) -> Path:
        """The image. Names from Windows are understood; none leads to a file elsewhere.

        Raises:
            SegtoolError: there is none, or there are several.
        """
        parts = _parts(name)
        found = next((paths for tier in self._tiers if (paths := self._in(tier, parts))), None) or self._called(parts)
        if not found:
            raise SegtoolError("a listed image is missing", where=name, mend=f"looked in {self.where}")
        if len(found) > 1:
            places = ", ".join(str(path.parent) for path in found[:3])
            mend = "name the folder in the file, or convert each split by itself"
            raise SegtoolError(f"{len(found)} images have one name, in {places}", where=name, mend=mend)
        return found[0]

    def _in(self, folders: Sequence[Path], parts: Sequence[str]) -> list[Path]:
        if not parts:
            return []
        found = [folder.joinpath(*parts) for folder in folders]
        return _different(path for path in found if path.is_file())

    def _called(self, parts: Sequence[str]) -> list[Path]:
        """Images of that name, whatever their folder, if the file means one image by it."""
        if not parts or self._named[parts[-1]] > 1:
            return []
        if self._by_name is None:
            self._by_name = {}
            for folder in self._folders:
                for path in list_images(folder):
                    self._by_name.setdefault(path.name, []).append(path)
        return _different(self._by_name.get(parts[-1], ()))

    @property
    def where(self) -> str:
        """The folders, in words."""
        return ", ".join(map(str, self._folders))


def _parts(name: str) -> list[str]:
    """The parts of a path, without what leads to the root or upwards."""
    return [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..")]


def _different(paths: Iterable[Path]) -> list[Path]:
    """The paths without those that lead to a file that is there already."""
    return [*{path.resolve(): path for path in reversed([*paths])}.values()]


def subfolders(folder: Path) -> Sequence[Path]:
    """The folders in a folder, sorted."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
