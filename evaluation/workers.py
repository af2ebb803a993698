"""Running a function over the images of a split, in this process or in several, always in order."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import TracebackType
from typing import Any, TypeVar

from segtool.allocator import keep_freed_memory
from segtool.data import SegmentationDataset
from segtool.prediction import Prediction

Predictor = Callable[..., Prediction]  # uint8 [H,W,3] -> Prediction
# Makes predictor and dataset; called once in every process, so for several it must be picklable.
Opener = Callable[[], tuple[Predictor, SegmentationDataset]]
T = TypeVar("T")
_CHUNK = 4  # images that a process takes at a time


class Workers:
    """A context in which `map` calls functions of (predictor, dataset, index).

    Args:
        opener: opens the model and the data.
        processes: 1 is this process alone; otherwise each has a predictor of its own.
    """

    def __init__(self, opener: Opener, processes: int = 1) -> None:
        keep_freed_memory()
        self._opener, self._processes = opener, processes
        self.predictor, self.dataset = opener()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Workers":
        if self._processes > 1:
            self._pool = ProcessPoolExecutor(self._processes, get_context("spawn"), _open_here, (self._opener,))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Predictor, SegmentationDataset, int], T], indices: Iterable[int]) -> Iterator[T]:
        """`function` of each image, in the order of `indices`; for several processes it must be importable."""
        if self._pool is None:
            return (function(self.predictor, self.dataset, index) for index in indices)
        chosen = list(indices)
        return self._pool.map(_call_here, [function] * len(chosen), chosen, chunksize=_CHUNK)


_opened: list[Any] = []


def _open_here(opener: Opener) -> None:
    keep_freed_memory()
    _opened[:] = opener()


def _call_here(function: Callable[..., T], index: int) -> T:
    return function(_opened[0], _opened[1], index)
