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

_BLOCK = 256 << 20  # bytes that are asked for at a time
_SHARE = 0.5  # of the free memory that a cache may fill unasked
_PROBES = 16  # images from which the size of all is estimated
Progress = Callable[[int, int], None]


class _Place(NamedTuple):
    block: int
    start: int
    height: int
    width: int


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
        block, start, height, width = self._places[index]
        pixels = height * width
        flat = self._blocks[block].numpy()[start : start + 4 * pixels]
        return Sample(flat[: 3 * pixels].reshape(height, width, 3), flat[3 * pixels :].reshape(height, width))

    def _store(self, sample: Sample) -> _Place:
        height, width = sample.labels.shape
        size = 4 * height * width
        if size > self._free:
            self._blocks.append(self._new_block(max(size, _BLOCK)))
            self._free = len(self._blocks[-1])
        start = len(self._blocks[-1]) - self._free
        flat = self._blocks[-1].numpy()
        flat[start : start + 3 * height * width] = sample.image.ravel()
        flat[start + 3 * height * width : start + size] = sample.labels.ravel()
        self._free -= size
        return _Place(len(self._blocks) - 1, start, height, width)

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
    sizes = [dataset.load(i).labels.size for i in even_choice(len(dataset), _PROBES)]
    return int(4 * np.mean(sizes) * len(dataset))


def free_memory() -> int:
    """Bytes that this process may still use: what the machine has, and what its control group leaves."""
    available = psutil.virtual_memory().available
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()).isdigit():
        available = min(available, int(text) - int(used.read_text()))
    return max(available, 0)
