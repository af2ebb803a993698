"""Writing a dataset of any kind as a folder that classes.yaml describes."""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from segtool.data.base import SegmentationDataset
from segtool.data.checks.findings import Finding, refuse
from segtool.data.description import ALL_BANDS, FILE
from segtool.data.description_text import description_text
from segtool.drawing import as_palette_image, png_bytes, save_image
from segtool.errors import SegtoolError
from segtool.files import ensure_folder, temporary_path, write_bytes, write_text
from segtool.formats import IMAGE_SUFFIXES
from segtool.readers import BandReader

Progress = Callable[[int, int], None]


def convert(
    splits: Mapping[str, SegmentationDataset], out: Path, progress: Progress = lambda done, total: None
) -> None:
    """Writes OUT/SPLIT/images, OUT/SPLIT/masks and OUT/classes.yaml: whole, or nothing.

    Images are copied as they are where they are files; masks are palette PNGs of class ids.

    Args:
        splits: of one dataset.
        progress: called with (done, total).

    Raises:
        SegtoolError: OUT is there and not empty, it cannot be written to, splits have other classes than each other,
            or samples have problems, all of which were looked for.
    """
    _check_alike(splits)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SegtoolError("there is something already", where=out, mend="choose another OUT, or remove it")
    ensure_folder(out.parent)
    temporary = temporary_path(out)
    problems: list[Finding] = []
    total, done = sum(map(len, splits.values())), 0
    try:
        for split, dataset in splits.items():
            for index, name in enumerate(_file_names(dataset)):
                try:
                    _write(dataset, index, temporary / split, name)
                except SegtoolError as error:
                    problems.append(Finding.of(error))
                done += 1
                progress(done, total)
        refuse(problems)
        first = next(iter(splits.values()))
        text = description_text(first.classes, _bands_of(first), ignore_index=first.ignore_index)
        write_text(temporary / FILE, text)
        if out.is_dir():
            out.rmdir()
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _bands_of(dataset: SegmentationDataset) -> dict[str, object]:
    """What classes.yaml says of images that are no pictures."""
    reader = dataset.reader
    return {"bands": list(reader.bands) or ALL_BANDS} if isinstance(reader, BandReader) else {}


def _check_alike(splits: Mapping[str, SegmentationDataset]) -> None:
    """Ids mean the same in all masks."""
    (first, one), *others = splits.items()
    for split, other in others:
        found = [[c.name for c in dataset.classes] for dataset in (one, other)]
        if found[0] != found[1] or one.ignore_index != other.ignore_index:
            mend = "a classes.yaml beside the data names them for all"
            what = f"the splits have other classes: {', '.join(found[0])}; {', '.join(found[1])}"
            raise SegtoolError(what, where=f"{first}, {split}", mend=mend)


def _write(dataset: SegmentationDataset, index: int, folder: Path, name: str) -> None:
    sample, source = dataset.load(index), dataset.image_path(index)
    if source is None or source.suffix.lower() not in IMAGE_SUFFIXES:
        image = folder / "images" / f"{name}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        if not dataset.reader.pictures:
            mend = "only bands of image files can be copied"
            raise SegtoolError("images of many bands that are no files", where=dataset.name, mend=mend)
        save_image(image, Image.fromarray(sample.image))
    else:
        write_bytes(folder / "images" / f"{name}{source.suffix.lower()}", source.read_bytes())
    mask = as_palette_image(sample.labels, [c.color for c in dataset.classes])
    write_bytes(folder / "masks" / f"{name}.png", png_bytes(mask))


def _file_names(dataset: SegmentationDataset) -> list[str]:
    """A file name without suffix for each image: its identifier, with _ for folders, and a number where it is taken."""
    used: set[str] = set()
    names = []
    for index in range(len(dataset)):
        parts = [part for part in re.split(r"[/\\]", dataset.identifier(index)) if part not in ("", ".", "..")]
        plain = "_".join(parts).lstrip(".") or str(index)  # files whose names begin with a dot are not read
        name, number = plain, 1
        while name.casefold() in used:
            number += 1
            name = f"{plain}_{number}"
        used.add(name.casefold())
        names.append(name)
    return names
