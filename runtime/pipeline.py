"""Many images: reading, inference and writing at the same time."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segtool.errors import SegtoolError
from segtool.prediction import Prediction

Image = NDArray[np.uint8]
T = TypeVar("T")
Outcome = tuple[T, SegtoolError | None]
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
) -> Iterator[Outcome[T]]:
    """Reads items ahead, predicts them in this thread in batches of one size, and writes them behind.

    Args:
        read: called in other threads, `write` too; with one writer it is called in the order of the items.
        predict: of images of one size.
        batch: images at most in a batch; neighbours of different sizes are not put into one.

    Yields:
        Each item with what went wrong, in order, when it is done. Only `SegtoolError`s are outcomes; others are raised.
    """
    source = iter(items)
    with ThreadPoolExecutor(readers) as reading, ThreadPoolExecutor(writers) as writing:
        ahead: deque[tuple[T, Future[Image]]] = deque()
        behind: deque[tuple[T, Future[None] | SegtoolError]] = deque()
        while True:
            for item in itertools.islice(source, _AHEAD * batch + readers - len(ahead)):
                ahead.append((item, reading.submit(read, item)))
            if not ahead:
                break
            behind.extend(_predicted(_next_batch(ahead, batch, behind), predict, write, writing))
            while len(behind) > _AHEAD * batch + writers:
                yield _finished(*behind.popleft())
        while behind:
            yield _finished(*behind.popleft())


def _next_batch(
    ahead: deque[tuple[T, Future[Image]]], batch: int, behind: deque[tuple[T, Future[None] | SegtoolError]]
) -> list[tuple[T, Image]]:
    """The next images of one size; items that cannot be read go to `behind`."""
    found: list[tuple[T, Image]] = []
    while ahead and len(found) < batch:
        item, future = ahead[0]
        try:
            image = future.result()
        except SegtoolError as error:
            if found:
                break  # after these, so that the order stays
            behind.append((item, error))
            ahead.popleft()
            continue
        if found and image.shape != found[0][1].shape:
            break
        found.append((item, image))
        ahead.popleft()
    return found


def _predicted(
    found: list[tuple[T, Image]],
    predict: Callable[[Sequence[Image]], Sequence[Prediction]],
    write: Callable[[T, Image, Prediction], None],
    writing: ThreadPoolExecutor,
) -> list[tuple[T, Future[None] | SegtoolError]]:
    try:
        predictions = predict([image for _, image in found]) if found else []
    except SegtoolError as error:
        return [(item, error) for item, _ in found]
    return [
        (item, writing.submit(write, item, image, prediction))
        for (item, image), prediction in zip(found, predictions, strict=True)
    ]


def _finished(item: T, outcome: Future[None] | SegtoolError) -> Outcome[T]:
    if isinstance(outcome, SegtoolError):
        return item, outcome
    try:
        outcome.result()
    except SegtoolError as error:
        return item, error
    return item, None
