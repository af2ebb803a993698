"""Many images: reading, inference and writing at the same time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, NamedTuple, TypeVar

from numpy.typing import NDArray

from segtool.errors import SegtoolError
from segtool.prediction import Prediction

Image = NDArray[Any]  # [H,W,B]
T = TypeVar("T")
Outcome = tuple[T, SegtoolError | None]
MOST_AT_ONCE = 64_000_000  # pixels of images in memory, unless one alone has more
_AHEAD = 3  # batches that are read before they are needed, and written after


def run_overlapped(
    items: Iterable[T],
    read: Callable[[T], Image],
    predict: Callable[[Sequence[Image]], Sequence[Prediction]],
    write: Callable[[T, Image, Prediction], None],
    *,
    batch: int = 1,
    readers: int = 2,
    writers: int = 2,
    concurrency: int = 1,
    weigh: Callable[[T], int] = lambda item: 0,
) -> Iterator[Outcome[T]]:
    """Reads items ahead, predicts them in batches of one size, and writes them behind.

    Args:
        read: called in other threads, `predict` and `write` too; with one writer `write` is called in the order of
            the items.
        predict: of images of one size.
        batch: images at most in a batch; neighbours of different sizes are not put into one.
        concurrency: calls of `predict` at once; see `Backend.concurrency`.
        weigh: pixels of an item's image. Where images are large, fewer are in memory at once: of more than
            `MOST_AT_ONCE` pixels one alone.

    Yields:
        Each item with what went wrong, in order, when it is done. Only `SegtoolError`s are outcomes; others are raised.
    """
    waiting = _Waiting(iter(items), weigh)
    with (
        ThreadPoolExecutor(readers) as reading,
        ThreadPoolExecutor(concurrency) as predicting,
        ThreadPoolExecutor(writers) as writing,
    ):
        ahead: deque[tuple[T, Future[Image]]] = deque()
        running: deque[_Running[T]] = deque()
        behind: deque[tuple[T, Future[None] | SegtoolError]] = deque()
        while True:
            while len(ahead) < _AHEAD * batch + readers and (begun := waiting.begin()):
                ahead.extend((item, reading.submit(read, item)) for item in begun)
            found = _next_batch(ahead, batch)
            if not found and not running:
                if not behind:
                    break
                yield waiting.done(_finished(*behind.popleft()))  # it makes room for what is waiting
            if found:
                running.append(_begun(found, predict, predicting))
            while running and (len(running) > concurrency or not found):
                behind.extend(_written(running.popleft(), write, writing))
            while len(behind) > _AHEAD * batch + writers:
                yield waiting.done(_finished(*behind.popleft()))


def _begun(
    found: list[tuple[T, Image | SegtoolError]],
    predict: Callable[[Sequence[Image]], Sequence[Prediction]],
    predicting: ThreadPoolExecutor,
) -> "_Running[T]":
    images = [outcome for _, outcome in found if not isinstance(outcome, SegtoolError)]
    return _Running(found, predicting.submit(predict, images) if images else None)


class _Waiting(Generic[T]):
    """Items that are not begun yet, and the pixels of those that are."""

    def __init__(self, items: Iterator[T], weigh: Callable[[T], int]) -> None:
        self._weighed = ((item, weigh(item)) for item in items)
        self._first = next(self._weighed, None)
        self._begun: deque[int] = deque()

    def begin(self) -> list[T]:
        """The next item; none where there is none, or no room for it."""
        if self._first is None:
            return []
        item, weight = self._first
        if self._begun and sum(self._begun) + weight > MOST_AT_ONCE:
            return []
        self._begun.append(weight)
        self._first = next(self._weighed, None)
        return [item]

    def done(self, outcome: Outcome[T]) -> Outcome[T]:
        """The outcome of the item that was begun first: its image is no longer in memory."""
        self._begun.popleft()
        return outcome


class _Running(NamedTuple, Generic[T]):
    """Items that were read, or why not, and the predictions of those that were."""

    items: list[tuple[T, Image | SegtoolError]]
    predictions: Future[Sequence[Prediction]] | None


def _next_batch(ahead: deque[tuple[T, Future[Image]]], batch: int) -> list[tuple[T, Image | SegtoolError]]:
    """The next images of one size, and the items between them that cannot be read."""
    found: list[tuple[T, Image | SegtoolError]] = []
    shape, images = None, 0
    while ahead and images < batch:
        item, future = ahead[0]
        try:
            image = future.result()
        except SegtoolError as error:
            found.append((item, error))
        else:
            if shape not in (None, image.shape):
                break
            shape, images = image.shape, images + 1
            found.append((item, image))
        ahead.popleft()
    return found


def _written(
    running: "_Running[T]", write: Callable[[T, Image, Prediction], None], writing: ThreadPoolExecutor
) -> Iterator[tuple[T, Future[None] | SegtoolError]]:
    failure: SegtoolError | None = None
    predictions: Iterator[Prediction] = iter(())
    try:
        predictions = iter(running.predictions.result() if running.predictions else ())
    except SegtoolError as error:
        failure = error
    for item, image in running.items:
        if isinstance(image, SegtoolError):
            yield item, image
        elif failure is not None:
            yield item, failure
        else:
            yield item, writing.submit(write, item, image, next(predictions))


def _finished(item: T, outcome: Future[None] | SegtoolError) -> Outcome[T]:
    if isinstance(outcome, SegtoolError):
        return item, outcome
    try:
        outcome.result()
    except SegtoolError as error:
        return item, error
    return item, None
