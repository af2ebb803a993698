"""How a dataset is found by its name."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from segtool.card import ClassInfo
from segtool.data.base import SegmentationDataset
from segtool.data.checks.arrays import Checked
from segtool.data.checks.findings import Finding, grouped, refuse
from segtool.errors import SegtoolError
from segtool.readers import Reader
from segtool.suggest import unknown
from segtool.user_code import run_file

Opener = Callable[[Path | None, str], SegmentationDataset]
_OPENERS: dict[str, Opener] = {}


def register_dataset(name: str) -> Callable[[Opener], Opener]:
    """Registers a function or class (path or None, split) -> SegmentationDataset under `name`."""

    def add(opener: Opener) -> Opener:
        _OPENERS[name] = opener
        return opener

    return add


def _registered(spec: str) -> str:
    """Runs the user's file that a spec begins with, so that its datasets register themselves; the rest of the spec."""
    file, separator, rest = spec.partition(".py:")
    if not separator:
        return spec
    run_file(Path(f"{file}.py").expanduser())
    return rest


def absolute_spec(spec: str) -> str:
    """A dataset spec that means the same in any folder."""
    *names, path = spec.split(":")
    names = [str(_absolute(name)) if name.endswith(".py") else name for name in names]
    return ":".join([*names, str(_absolute(path)) if names and _absolute(path).exists() else path])


def _absolute(path: str) -> Path:
    return Path(os.path.realpath(Path(path).expanduser()))


def dataset_names() -> list[str]:
    """The registered names."""
    return sorted(_OPENERS)


def open_dataset(spec: str, split: str, *, complete: bool = True, reader: Reader | None = None) -> SegmentationDataset:
    """Opens a split of `name` or `name:path`, or of `file.py:name:path` where file.py registers `name`.

    Every sample that is loaded from it is checked, see `Checked`.

    Args:
        complete: whether images without a mask are an error; otherwise they are in `problems` alone.
        reader: of image files, such as that of a model; by default as the dataset says.

    Raises:
        SegtoolError: unknown name, missing folder, a split without images, classes that cannot be told apart.
    """
    name, _, path = _registered(spec).partition(":")
    if name not in _OPENERS:
        if Path(spec).expanduser().is_dir():
            raise SegtoolError("a dataset is NAME:PATH", where=spec, mend=f"folder:{spec}, or another name before it")
        raise unknown("dataset", name, dataset_names())
    dataset = _opened(name, Path(path).expanduser() if path else None, split)
    if reader is not None:
        dataset.reader = reader
    if complete:
        refuse(map(Finding.of, dataset.problems))
    if len(dataset) == 0 and not dataset.problems:
        left_out = [str(group) for group in grouped(dataset.doubts)]
        raise SegtoolError(f"the {split} split is empty", where=spec, mend="; ".join(left_out) or "add images to it")
    if len(dataset) or not dataset.problems:  # without images an annotation tool may know no classes
        _check_classes(dataset.classes, dataset.ignore_index, spec)
    return Checked(dataset)


def _opened(name: str, path: Path | None, split: str) -> SegmentationDataset:
    """What the opener gives; it may be the user's own code."""
    try:
        dataset = _OPENERS[name](path, split)
    except SegtoolError:
        raise
    except Exception as error:
        what = f"dataset {name} cannot be opened, {type(error).__name__}: {error}"
        raise SegtoolError(what, where=split, mend="mend it; --debug shows the traceback") from error
    missing = [field for field in ("name", "split", "classes") if not hasattr(dataset, field)]
    if not isinstance(dataset, SegmentationDataset) or missing:
        what = f"dataset {name} has no {missing[0]}" if missing else f"dataset {name} is no SegmentationDataset"
        raise SegtoolError(what, where=type(dataset).__name__, mend="see docs/data.md")
    return dataset


def _check_classes(classes: Sequence[ClassInfo], ignore_index: int, where: object) -> None:
    """Refuses classes that masks, tables and files cannot tell apart, and a single one, which there is nothing to tell
    from."""
    if len(classes) < 2:
        mend = "add what it is to be told from, such as background"
        raise SegtoolError(f"{len(classes)} class: every pixel would be right", where=where, mend=mend)
    for place, info in enumerate(classes):
        if info.id != place:
            raise SegtoolError(f"class {info.name} has the id {info.id}, and is number {place}", where=where)
    for name, count in Counter(c.name for c in classes).items():
        if count > 1:
            raise SegtoolError(f"{count} classes are called {name}", where=where, mend="give each its own name")
    if not len(classes) <= ignore_index <= 255:
        raise SegtoolError(
            f"ignore_index is {ignore_index}", where=where, mend=f"a number that is no class: {len(classes)}..255"
        )
