"""A dataset whose labels are painted from shapes."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from segtool.card import ClassInfo
from segtool.data.annotations.shapes import Annotated, Compact, Shape, Source, area_of, decoded, rasterised
from segtool.data.base import Sample, SegmentationDataset, with_void
from segtool.data.checks.files import image_doubts
from segtool.data.checks.findings import Finding
from segtool.data.class_list import named_classes
from segtool.data.description import FILE, MASK_KEYS, VOID, Description, read_description
from segtool.data.splits import ALL, Member, SplitRule
from segtool.errors import SegtoolError
from segtool.palette import voc_color
from segtool.readers import reader_of_bands

BACKGROUND = "background"
_BACKGROUNDS = ("background", "_background_", "__background__")


class AnnotatedDataset(SegmentationDataset):
    """Images with shapes.

    Args:
        name, split, classes, ignore_index, problems, doubts: see `SegmentationDataset`.
        images: with their shapes.
        ids: the class id (or ignore index) of each label.
        elsewhere: that of pixels that no shape covers.
        by_area: whether small shapes lie over large ones; otherwise later ones over earlier ones. Crowds lie under
            everything.
    """

    def __init__(
        self,
        name: str,
        split: str,
        classes: list[ClassInfo],
        images: Sequence[Annotated],
        ids: Mapping[str, int],
        *,
        elsewhere: int,
        by_area: bool,
        ignore_index: int = 255,
        problems: Sequence[SegtoolError] = (),
        doubts: Sequence[Finding] = (),
    ) -> None:
        self.name, self.split, self.classes, self.ignore_index = name, split, classes, ignore_index
        self._images, self._ids, self._elsewhere, self._by_area = images, ids, elsewhere, by_area
        self.problems, self.doubts = problems, doubts

    def __len__(self) -> int:
        return len(self._images)

    def identifier(self, index: int) -> str:
        return self._images[index].name

    def image_path(self, index: int) -> Path:
        return self._images[index].image

    def source_of(self, index: int) -> object:
        return self._images[index].source

    def file_doubts(self, index: int) -> Iterator[Finding]:
        return image_doubts(self._images[index].image) if self.reader.pictures else iter(())

    def load(self, index: int) -> Sample:
        annotated = self._images[index]
        image = self.reader.open(annotated.image)
        size = image.values.shape[:2]
        height, width = annotated.size or size
        if (height, width) != size:
            found = f"{size[0]}x{size[1]}"
            mend = "was the image scaled, or turned by its EXIF, since it was labelled?"
            what = f"annotations for {height}x{width} pixels of an image of {found}"
            raise SegtoolError(what, where=annotated.source, mend=mend)
        compact = [rasterised(shape, height, width, annotated.source) for shape in annotated.shapes]
        # Decoded one by one: hundreds of masks of a large image would fill the memory.
        order = sorted(range(len(compact)), key=lambda i: self._rank(annotated.shapes[i], compact[i]))
        labels = np.full((height, width), self._elsewhere, np.uint8)
        for i in order:
            labels[decoded(compact[i])] = self._label(annotated.shapes[i])
        return with_void(image, labels, self.ignore_index)

    def _rank(self, shape: Shape, compact: Compact) -> tuple[bool, int]:
        """What is painted first: crowds, then large shapes."""
        return not shape.crowd, -area_of(compact) if self._by_area else 0

    def _label(self, shape: Shape) -> int:
        return self.ignore_index if shape.crowd else self._ids[shape.label]


Read = Callable[[str | None], Source]


def open_annotated(name: str, split: str, folder: Path, read: Read) -> AnnotatedDataset:
    """The split of what a tool wrote.

    Args:
        folder: a classes.yaml in it may name classes, merge labels, and say what the splits are.
        read: the images of a split, as far as the tool knows splits; of None all that there are.

    Raises:
        SegtoolError: no such split, or a classes.yaml that does not fit.
    """
    path = folder / FILE
    description = read_description(path) if path.is_file() else None
    if description is not None and (useless := sorted(description.given & set(MASK_KEYS))):
        mend = f"{name} knows where they lie; remove it"
        raise SegtoolError(f"{useless[0]} says where files lie, or what masks hold", where=path, mend=mend)
    rule = description.split if description else SplitRule()
    source = read(None if rule.names or split == ALL else split)
    classes = description.classes if description else _classes(source)
    ignore_index = description.ignore_index if description else 255
    ids, unknown = _ids(source, classes, ignore_index, description)
    images, twice = _named_apart(source.images)
    doubts = [*source.doubts, *_nearly_alike(source.labels)]
    if not source.split_known:
        images, missing, drawn = _of_split(images, split, rule, folder, path)
        twice += missing
        doubts += drawn
    dataset = AnnotatedDataset(
        name,
        split,
        classes,
        [image for image in images if not any(shape.label in unknown for shape in image.shapes)],
        ids,
        elsewhere=description.elsewhere if description else _background(classes, ignore_index),
        by_area=source.by_area,
        ignore_index=ignore_index,
        problems=[*source.problems, *twice, *_unknown_labels(images, unknown, path)],
        doubts=doubts,
    )
    dataset.described_by = path
    if description is not None:
        dataset.reader = reader_of_bands(description.bands)
    return dataset


def _named_apart(images: Sequence[Annotated]) -> tuple[list[Annotated], list[SegtoolError]]:
    """The images with names that differ: with their suffix where two would have one; and an error for each image that
    is there twice."""
    count = Counter(image.name for image in images)
    names = [image.name + image.image.suffix if count[image.name] > 1 else image.name for image in images]
    again = Counter(names)
    mend = "remove one, or give each its own name"
    problems = [SegtoolError("an image is annotated twice", where=name, mend=mend) for name in again if again[name] > 1]
    return [image._replace(name=name) for image, name in zip(images, names, strict=True)], problems


def _nearly_alike(labels: Sequence[str]) -> list[Finding]:
    """Doubts about labels that differ in case or spaces alone."""
    alike: dict[str, list[str]] = {}
    for label in labels:
        alike.setdefault(label.strip().casefold(), []).append(label)
    what, mend = (
        "labels that differ in case or spaces alone are classes of their own",
        "ids: in classes.yaml merges them",
    )
    return [Finding(what, " and ".join(map(repr, found)), mend) for found in alike.values() if len(found) > 1]


def _classes(source: Source) -> list[ClassInfo]:
    """The labels; what lies around them comes first, unless it is one of them."""
    names = [label for label in dict.fromkeys(source.labels) if label not in source.void]
    around = [name for name in names if name.lower() in _BACKGROUNDS]
    ordered = [*(around[:1] or [BACKGROUND]), *(name for name in names if name not in around[:1])]
    colors = [source.colors.get(label, voc_color(place)) for place, label in enumerate(ordered)]
    return named_classes(ordered, colors)


def _background(classes: Sequence[ClassInfo], ignore_index: int) -> int:
    return next((c.id for c in classes if c.name.lower() in _BACKGROUNDS), ignore_index)


def _ids(
    source: Source, classes: Sequence[ClassInfo], ignore_index: int, description: Description | None
) -> tuple[dict[str, int], set[str]]:
    """The class id (or ignore index) of each label; and those that have none."""
    ids = dict.fromkeys(source.void, ignore_index) | {c.name: c.id for c in classes}
    if description is not None:
        ids |= description.tool_names
    used = {shape.label for image in source.images for shape in image.shapes}
    unknown = {label for label in used if label not in ids}
    if description is not None and description.other is not None:
        ids |= dict.fromkeys(unknown, description.other)
        unknown = set()
    return ids, unknown


def _of_split(
    images: Sequence[Annotated], split: str, rule: SplitRule, folder: Path, where: Path
) -> tuple[list[Annotated], list[SegtoolError], Sequence[Finding]]:
    members = [Member(image.name, _relative(image.image, folder), {}) for image in images]
    chosen = rule.chosen(split, members, folder, where)
    mend = f"annotate it, or remove the line from the list of {split}"
    missing = [SegtoolError("a listed image is missing", where=name, mend=mend) for name in chosen.missing]
    return [images[place] for place in chosen.places], missing, chosen.doubts


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def _unknown_labels(images: Sequence[Annotated], unknown: set[str], where: Path) -> list[SegtoolError]:
    """An error for each label without a class, with the number of its shapes."""
    counts = dict.fromkeys(sorted(unknown), 0)
    for image in images:
        for shape in image.shapes:
            if shape.label in counts:
                counts[shape.label] += 1
    mend = f"add it to classes, or under ids: in {where.name}: name: class, or other: {VOID}"
    return [
        SegtoolError(f"{count} shapes of a label without a class", where=label, mend=mend)
        for label, count in counts.items()
        if count
    ]
