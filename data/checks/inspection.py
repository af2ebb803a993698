"""Everything that is wrong with a dataset, or looks wrong, in one pass over it."""

from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.data.base import Sample, SegmentationDataset
from segtool.data.checks.findings import Finding, Group, grouped, refuse
from segtool.data.checks.numbers import BandNumbers
from segtool.data.statistics import Statistics
from segtool.errors import SegtoolError
from segtool.rasters import raster_about, read_raster
from segtool.readers import BandReader, Reader

Progress = Callable[[int, int], None]
_FEW_ALPHAS = 8  # values of what is transparency indeed
_BLACK, _WHITE = 16, 239  # levels; of 12 bits that were taken for 16 the brightest is 16
_LEVELS = "are its levels really 0..255, or 0..65535 in a file of 16 bits? bands: all takes numbers as they are"


class Inspection:
    """What was found in a split.

    Args:
        dataset: the split; its samples are checked, see `Checked`.
        training: whether it is trained on, rather than validated on.
        progress: called with (done, total).

    Attributes:
        problems: what is refused.
        doubts: what may be meant, but looks wrong.
        statistics: of the masks that could be read.
        pictures: where each picture was seen first, by a digest of its pixels.
        numbers: of the bands of images that are no pictures.
    """

    def __init__(
        self, dataset: SegmentationDataset, training: bool, progress: Progress = lambda done, total: None
    ) -> None:
        self.dataset, self.training = dataset, training
        self.problems, self.doubts = [*map(Finding.of, dataset.problems)], [*dataset.doubts]
        self.statistics = Statistics.of(dataset.classes)
        self.pictures: dict[bytes, str] = {}
        self.numbers = BandNumbers(len(dataset))
        self._loaded, self._binary = 0, list[str]()
        for index in range(len(dataset)):
            self._look_at(index)
            progress(index + 1, len(dataset))
        self.problems += self.numbers.problems()
        self.doubts += self.numbers.doubts()
        self.doubts += self._same_names()
        if self._loaded:
            self._judge()

    def _look_at(self, index: int) -> None:
        where = str(self.dataset.source_of(index))
        try:
            sample = self.dataset.load(index)
            self.doubts += self.dataset.file_doubts(index)
        except SegtoolError as error:
            self.problems.append(Finding.of(error))
            return
        self._loaded += 1
        found = set(np.flatnonzero(self.statistics.add(sample.labels)).tolist())
        self.pictures.setdefault(_digest(sample), self.dataset.identifier(index))
        self._look_at_image(sample, index)
        if found == {self.dataset.ignore_index}:
            self.doubts.append(self._empty(index, where))
        if found == {0, self.dataset.ignore_index}:
            self._binary.append(where)

    def _empty(self, index: int, where: str) -> Finding:
        """Why all of an image is void: of a file that is read as it is, there may be nothing in it."""
        path = self.dataset.image_path(index)
        if path is not None and not self.dataset.reader.pictures:
            missing = self.dataset.reader.open(path).missing
            if missing is not None and missing.all():
                return Finding("an image without any data", str(path), "leave it out")
        return Finding("a mask of nothing but void", where, "label it, or leave the image out")

    def _look_at_image(self, sample: Sample, index: int) -> None:
        where = self.dataset.identifier(index)
        if self.dataset.reader.pictures:
            self.doubts += _levels(sample, where)
            return
        path = self.dataset.image_path(index)
        about = None if path is None else raster_about(path)
        self.numbers.add(sample.image, where, None if about is None else about.nodata)
        if path is not None and about is not None and about.alpha is not None:
            self.doubts += _alpha_doubts(self.dataset.reader, path, about.alpha)
        void = sample.labels == self.dataset.ignore_index
        none = np.nan if sample.image.dtype == np.float32 else about and about.nodata
        self.doubts += _gaps(sample, void, none, where)

    def _judge(self) -> None:
        """What only all images together show."""
        names = [c.name for c in self.dataset.classes]
        present = [name for name, pixels in zip(names, self.statistics.pixels, strict=True) if pixels]
        split, void = self.dataset.split, self.dataset.stored_label(self.dataset.ignore_index)
        if not present:
            what = f"there are no labels in the {'training' if self.training else split} masks"
            self.problems.append(Finding(what, split, f"all is void, {void}; segtool data show draws it"))
        elif self.training and len(present) == 1:
            mend = f"{void} is void: write class ids 0..{len(names) - 1}" if self._binary else "label the other classes"
            self.problems.append(Finding(f"all labelled training pixels are {present[0]}", split, mend))
        else:
            self.doubts += self._absent(present) + self._half_binary()
        if len(self.pictures) == 1 < self._loaded:
            self.doubts.append(Finding(f"all {self._loaded} images are the same picture", split))

    def _absent(self, present: list[str]) -> list[Finding]:
        use = "it cannot be learned" if self.training else "its score says nothing"
        what = f"a class without one {'training' if self.training else 'validation'} pixel"
        return [Finding(what, c.name, use) for c in self.dataset.classes if c.name not in present]

    def _half_binary(self) -> list[Finding]:
        """Of two classes, some masks may hold the second as 255, which many programs write for it."""
        if len(self.dataset.classes) > 2:
            return []
        void = self.dataset.stored_label(self.dataset.ignore_index)
        mend = f"write {self.dataset.classes[1].name} as 1"
        return [Finding(f"a mask of 0 and {void} alone, which is void", where, mend) for where in self._binary]

    def _same_names(self) -> Iterator[Finding]:
        count = Counter(self.dataset.identifier(i) for i in range(len(self.dataset)))
        for name, images in count.items():
            if images > 1:
                yield Finding("an identifier that several images have", name, "give each image its own")


def unlike_bands(training: Inspection, other: Inspection) -> list[Finding]:
    """Images that are scored, and are not as those that are trained on."""
    trained, scored = training.numbers.common, other.numbers.common
    if trained is None or scored is None or trained == scored:
        return []
    what = f"images of {scored[1]} bands of {scored[0]}; training images have {trained[1]} of {trained[0]}"
    return [Finding(what, other.dataset.split, "data.bands, or bands in classes.yaml, chooses the same of each")]


def shared_pictures(training: Inspection, other: Inspection) -> list[Finding]:
    """Pictures that are trained on and scored on."""
    both = training.pictures.keys() & other.pictures.keys()
    what = f"an image of {other.dataset.split} is a training image too"
    mend = "scores on it say nothing of new images"
    return [Finding(what, where, mend) for key, where in other.pictures.items() if key in both]


class Verdict(NamedTuple):
    """Splits without problems: what looks wrong, by kind, and what the training masks and images hold."""

    doubts: list[Group]
    training: Statistics
    numbers: BandNumbers


def check_all(train: SegmentationDataset, *others: SegmentationDataset) -> Verdict:
    """Refuses splits with problems.

    Args:
        train: what is trained on.
        others: what is validated on.

    Raises:
        SegtoolError: the first kind of problem, and how many problems there are besides.
    """
    trained, scored = Inspection(train, training=True), [Inspection(other, training=False) for other in others]
    unlike = [problem for inspection in scored for problem in unlike_bands(trained, inspection)]
    refuse([*(problem for inspection in (trained, *scored) for problem in inspection.problems), *unlike])
    for other in others:
        if [c.name for c in other.classes] != [c.name for c in train.classes]:
            raise SegtoolError("the splits have other classes", where=f"{train.split}, {other.split}")
    doubts = [doubt for inspection in (trained, *scored) for doubt in inspection.doubts]
    shared = [doubt for inspection in scored for doubt in shared_pictures(trained, inspection)]
    return Verdict(grouped([*doubts, *shared]), trained.statistics, trained.numbers)


def _digest(sample: Sample) -> bytes:
    return blake2b(sample.image.data.cast("B"), digest_size=16, key=repr(sample.image.shape).encode()).digest()


def _alpha_doubts(reader: Reader, path: Path, alpha: int) -> Iterator[Finding]:
    """A band that is called transparency, and may be another."""
    if isinstance(reader, BandReader) and not reader.bands:
        values = np.unique(read_raster(path, (alpha,)).values)
        if len(values) > _FEW_ALPHAS:
            mend = f"bands: [1, ..., {alpha}] reads it too; without a name it is left out"
            yield Finding(f"band {alpha} is called transparency, and has {len(values)} values", str(path), mend)


def _gaps(sample: Sample, void: NDArray[np.bool_], nodata: float | None, where: str) -> Iterator[Finding]:
    """Numbers that are none, where others of the same pixel are some."""
    none = np.isnan(sample.image) if sample.image.dtype == np.float32 else sample.image == nodata
    if nodata is not None and (gaps := int((none.any(2) & ~void).sum())):
        mend = "the mean of the band takes their place"
        yield Finding(f"{gaps} labelled pixels have no number in some bands", where, mend)


def _levels(sample: Sample, where: str) -> Iterator[Finding]:
    low, high = int(sample.image.min()), int(sample.image.max())
    if high <= _BLACK:
        yield Finding(f"a black image, no level above {high}", where, _LEVELS)
    elif low >= _WHITE:
        yield Finding(f"a white image, no level below {low}", where, _LEVELS)
