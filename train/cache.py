"""Decoded images, kept: in memory, or in a file that the system maps into it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from torch import Tensor

from segtool.data.base import DerivedDataset, Sample, SegmentationDataset, even_choice
from segtool.errors import SegtoolError
from segtool.readers import Parted

_BLOCK = 256 << 20  # bytes that are asked for at a time
_SHARE = 0.5  # of the free memory that a cache may fill unasked
_ALIGNED = 8  # bytes
_PROBES = 16  # images from which the size of all is estimated
Progress = Callable[[int, int], None]


class _Place(NamedTuple):
    """Where a sample lies: its image, and right behind it its labels."""

    block: int
    start: int
    shape: tuple[int, ...]
    kind: np.dtype


class CachedDataset(DerivedDataset):
    """The same dataset, each image decoded once; processes that read it share the memory.

    Args:
        dataset: to be kept.
        folder: where to keep it on disk; None: in memory.
        progress: called with (done, total) while it is filled.

    Raises:
        SegtoolError: an image cannot be read.
    """

    def __init__(
        self, dataset: SegmentationDataset, folder: Path | None = None, progress: Progress = lambda done, total: None
    ) -> None:
        super().__init__(dataset)
        self._folder = folder
        self._blocks: list[Tensor] = []
        self._places: list[_Place] = []
        self._free = 0  # of the last block
        for index in range(len(dataset)):
            self._places.append(self._store(dataset.load(index)))
            progress(index + 1, len(dataset))

    def load(self, index: int) -> Sample:
        block, start, shape, kind = self._places[index]
        height, width, channels = shape
        flat = self._blocks[block].numpy()[start:]
        size = height * width * channels * kind.itemsize
        labels = flat[size : size + height * width].reshape(height, width)
        return Sample(flat[:size].view(kind).reshape(shape), labels)

    def parted(self, index: int) -> Parted:
        height, width, _ = self._places[index].shape
        return Parted(height, width)

    def _store(self, sample: Sample) -> _Place:
        size = _size(sample)
        if size > self._free:
            self._blocks.append(self._new_block(max(size, _BLOCK)))
            self._free = len(self._blocks[-1])
        start = len(self._blocks[-1]) - self._free
        flat = self._blocks[-1].numpy()
        flat[start : start + sample.image.nbytes] = np.ascontiguousarray(sample.image).view(np.uint8).ravel()
        flat[start + sample.image.nbytes :][: sample.labels.size] = sample.labels.ravel()
        self._free -= size
        return _Place(len(self._blocks) - 1, start, sample.image.shape, sample.image.dtype)

    def _new_block(self, size: int) -> Tensor:
        if self._folder is None:
            return torch.empty(size, dtype=torch.uint8)
        path = self._folder / f"{len(self._blocks):04d}.bin"
        return torch.from_file(str(path), shared=True, size=size, dtype=torch.uint8)


def cached(
    dataset: SegmentationDataset, kind: str, folder: Path, report: Callable[[str], None], copies: int = 1
) -> SegmentationDataset:
    """The dataset, cached as `data.cache` says.

    Args:
        kind: auto (in memory if it fills less than half of what is free), ram, disk or none.
        folder: for a cache on disk; made new.
        report: told what was chosen.
        copies: processes on this machine that each have a cache of their own.

    Raises:
        SegtoolError: it does not fit where it is wanted.
    """
    if kind == "none":
        return dataset
    needed, free = copies * decoded_bytes(dataset), free_memory()
    size = f"{needed / 2**20:.0f} MiB of decoded images"
    if kind == "ram" and needed > free:
        raise SegtoolError(
            f"{size} do not fit into the {free / 2**20:.0f} MiB of free memory",
            where="data.cache",
            mend="--set data.cache=disk or none",
        )
    if kind == "ram" or (kind == "auto" and needed < _SHARE * free):
        report(f"keeping {size} in memory")
        return CachedDataset(dataset)
    if kind == "disk":
        return _cached_on_disk(dataset, folder, needed // copies, size, report)
    report(f"images are decoded again and again: {size} would fill the memory; data.cache=disk keeps them")
    return dataset


def _cached_on_disk(
    dataset: SegmentationDataset, folder: Path, needed: int, size: str, report: Callable[[str], None]
) -> SegmentationDataset:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if needed > shutil.disk_usage(folder).free:
        raise SegtoolError(f"{size} do not fit on the disk", where=folder, mend="--set data.cache=none")
    report(f"keeping {size} in {folder}")
    return CachedDataset(dataset, folder)


def decoded_bytes(dataset: SegmentationDataset) -> int:
    """Bytes of all images and masks when decoded, estimated from an even choice of them."""
    sizes = [_size(dataset.load(i)) for i in even_choice(len(dataset), _PROBES)]
    return int(np.mean(sizes) * len(dataset))


def _size(sample: Sample) -> int:
    """Bytes of a sample; what follows it begins where numbers of any kind may."""
    return -(-(sample.image.nbytes + sample.labels.nbytes) // _ALIGNED) * _ALIGNED


def free_memory() -> int:
    """Bytes that this process may still use: what the machine has, and what its control group leaves."""
    available = psutil.virtual_memory().available
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()).isdigit():
        available = min(available, int(text) - int(used.read_text()))
    return max(available, 0)
