"""Several datasets as one: what is trained on beside the training split."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from segtool.data.base import Sample, SegmentationDataset
from segtool.data.checks.findings import Finding
from segtool.data.registry import open_dataset
from segtool.errors import SegtoolError
from segtool.readers import Parted, Reader


class JoinedDataset(SegmentationDataset):
    """The images of several datasets, one after the other.

    Args:
        datasets: of the same classes, in the same order.
        specs: what errors name them.

    Raises:
        SegtoolError: their classes differ.
    """

    def __init__(self, datasets: Sequence[SegmentationDataset], specs: Sequence[str]) -> None:
        first = datasets[0]
        for other, spec in zip(datasets[1:], specs[1:], strict=True):
            if [c.name for c in other.classes] != [c.name for c in first.classes]:
                names = ", ".join(c.name for c in other.classes)
                mend = f"they must be {', '.join(c.name for c in first.classes)}"
                raise SegtoolError(f"other classes than {specs[0]}: {names}", where=spec, mend=mend)
            if other.ignore_index != first.ignore_index:
                mend = f"both need the same: {first.ignore_index}"
                raise SegtoolError(f"ignore_index is {other.ignore_index}", where=spec, mend=mend)
        self._datasets = datasets
        self._ends = [*accumulate(map(len, datasets))]
        self.name = "+".join(dict.fromkeys(dataset.name for dataset in datasets))
        self.split, self.classes, self.ignore_index = first.split, first.classes, first.ignore_index
        self.problems = [problem for dataset in datasets for problem in dataset.problems]
        self.doubts = [doubt for dataset in datasets for doubt in dataset.doubts]

    @property
    def reader(self) -> Reader:  # type: ignore[override]  # whoever sets it sets that of all
        return self._datasets[0].reader

    @reader.setter
    def reader(self, reader: Reader) -> None:
        for dataset in self._datasets:
            dataset.reader = reader

    def __len__(self) -> int:
        return self._ends[-1]

    def identifier(self, index: int) -> str:
        """Of the first dataset as it is there, of others behind their number: `2:street`."""
        number, place = self._place(index)
        name = self._datasets[number].identifier(place)
        return f"{number + 1}:{name}" if number else name

    def load(self, index: int) -> Sample:
        number, place = self._place(index)
        return self._datasets[number].load(place)

    def parted(self, index: int) -> Parted | None:
        number, place = self._place(index)
        return self._datasets[number].parted(place)

    def load_part(self, index: int, rows: slice, columns: slice, shrink: int = 1) -> Sample:
        number, place = self._place(index)
        return self._datasets[number].load_part(place, rows, columns, shrink)

    def source_of(self, index: int) -> object:
        number, place = self._place(index)
        return self._datasets[number].source_of(place)

    def image_path(self, index: int) -> Path | None:
        number, place = self._place(index)
        return self._datasets[number].image_path(place)

    def stored_label(self, label: int) -> int:
        return self._datasets[0].stored_label(label)

    def file_doubts(self, index: int) -> Iterator[Finding]:
        number, place = self._place(index)
        return self._datasets[number].file_doubts(place)

    def _place(self, index: int) -> tuple[int, int]:
        number = bisect_right(self._ends, index)
        return number, index - (self._ends[number] - len(self._datasets[number]))


def open_training(spec: str, also: Sequence[str], reader: Reader | None = None) -> SegmentationDataset:
    """The training split of a dataset, and those of others behind it.

    Args:
        reader: of all images; by default that of the first.

    Raises:
        SegtoolError: one of them cannot be opened, or their classes differ.
    """
    first = open_dataset(spec, "train", reader=reader)
    others = [open_dataset(one, "train", reader=first.reader) for one in also]
    return JoinedDataset([first, *others], (spec, *also)) if also else first
