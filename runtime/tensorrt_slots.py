"""Buffers and CUDA graphs of an engine: two slots for each input shape, so that copies and computation overlap."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.engine import INPUT
from segtool.errors import SegtoolError
from segtool.runtime.backend import Outputs
from segtool.runtime.cuda_device import pinned

SLOTS = 2  # of a shape: one computes while the other is filled and emptied
SHAPES = 8  # of which slots are kept; the one that was not used for longest goes

Shape = tuple[int, ...]


class Execution(NamedTuple):
    """What all slots of an engine share.

    Attributes:
        device: of cuda.core.
        context: TensorRT's execution context. Its memory serves one run at a time.
        stream: that everything is computed on, which keeps runs apart.
        lock: held while work is put on the stream, or captured from it.
        outputs: data types by name.
        kind: data type of images.
    """

    device: Any
    context: Any
    stream: Any
    lock: threading.Lock
    outputs: dict[str, np.dtype]
    kind: np.dtype

    def execute(self) -> None:
        """Puts one run on the stream, on the addresses that the context was given.

        Raises:
            SegtoolError: TensorRT refuses.
        """
        if not self.context.execute_async_v3(int(self.stream.handle)):
            raise SegtoolError("TensorRT could not start the engine")


def no_room(shape: Shape, error: Exception) -> SegtoolError:
    """What to say when the device has no memory for images of a shape."""
    return SegtoolError(f"the GPU refused ({error})", where=f"images {list(shape)}", mend="smaller batches or tiles")


class Slot:
    """Buffers for one input shape, and the CUDA graph that computes on them.

    The host's sides are pinned. Copies go on a stream of the slot's own, beside what another slot computes.
    """

    def __init__(self, execution: Execution, shape: Shape) -> None:
        self._execution, self._stream = execution, execution.device.create_stream()
        self._buffers: list[Any] = []
        self._graph: Any = None
        try:
            with execution.lock:
                execution.context.set_input_shape(INPUT, shape)
                self._image, self._upload = self._pair(INPUT, shape, execution.kind)
                pairs = {n: self._pair(n, self._shape_of(n), dtype) for n, dtype in execution.outputs.items()}
                self._graph = self._captured()
        except Exception:
            self.close()
            raise
        self._results = {name: array for name, (array, _) in pairs.items()}
        self._downloads = [copy for _, copy in pairs.values()]

    def _shape_of(self, name: str) -> Shape:
        return tuple(self._execution.context.get_tensor_shape(name))

    def _pair(self, name: str, shape: Shape, dtype: np.dtype) -> tuple[NDArray, tuple[Any, Any]]:
        """An array in pinned memory, and the buffers behind it on the host and on the device."""
        host, array = pinned(shape, dtype)
        self._buffers.append(host)
        on_device = self._execution.device.allocate(host.size, stream=self._stream)
        self._buffers.append(on_device)
        self._execution.context.set_tensor_address(name, int(on_device.handle))
        return array, (host, on_device)

    def _captured(self) -> Any:
        stream = self._execution.stream
        stream.wait(self._stream)  # for the memory
        self._execution.execute()  # TensorRT prepares a new shape in its first run, which no capture may contain
        stream.sync()
        builder = stream.create_graph_builder()
        builder.begin_building()
        self._execution.execute()
        return builder.end_building().complete()

    def run(self, images: NDArray) -> Outputs:
        """Uploads, computes and downloads, in this order; another slot does another of the three meanwhile."""
        self._image[...] = images
        host, on_device = self._upload
        host.copy_to(on_device, stream=self._stream)
        with self._execution.lock:
            self._execution.stream.wait(self._stream)
            self._graph.launch(self._execution.stream)
            self._stream.wait(self._execution.stream)
        for host, on_device in self._downloads:
            on_device.copy_to(host, stream=self._stream)
        self._stream.sync()
        return {name: array.copy() for name, array in self._results.items()}

    def close(self) -> None:
        """Gives its memory back."""
        self._stream.sync()
        if self._graph is not None:
            self._graph.close()
        for buffer in self._buffers:
            buffer.close()
        self._buffers.clear()
        self._stream.close()


@dataclass
class _Kept:
    """The slots of one shape. `limit` of them may be made; `users` have one or wait for one."""

    free: list[Slot] = field(default_factory=list)
    made: int = 0
    limit: int = SLOTS
    users: int = 0


class Slots:
    """Slots by input shape, made when they are needed."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._shapes: OrderedDict[Shape, _Kept] = OrderedDict()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, shape: Shape) -> Iterator[Slot]:
        """A slot that nobody else has meanwhile.

        Raises:
            SegtoolError: the device has no room for one.
        """
        with self._changed:
            kept = self._kept(shape)
            kept.users += 1
            try:
                slot = self._next(kept, shape)
            except BaseException:
                self._leave(kept, shape)
                raise
        try:
            yield slot
        finally:
            with self._changed:
                kept.free.append(slot)
                self._leave(kept, shape)

    def _kept(self, shape: Shape) -> _Kept:
        kept = self._shapes.setdefault(shape, _Kept())
        self._shapes.move_to_end(shape)
        unused = [s for s, k in self._shapes.items() if not k.users and s != shape]
        for old in unused[: max(0, len(self._shapes) - SHAPES)]:
            for slot in self._shapes.pop(old).free:
                slot.close()
        return kept

    def _next(self, kept: _Kept, shape: Shape) -> Slot:
        while True:
            self._changed.wait_for(lambda: kept.free or kept.made < kept.limit)
            if kept.free:
                return kept.free.pop()
            try:
                slot = Slot(self._execution, shape)
            except Exception as error:  # cuda.core's, for want of memory
                if not kept.made:
                    raise no_room(shape, error) from error
                kept.limit = kept.made  # there is no room for another: wait for the one that there is
                continue
            kept.made += 1
            return slot

    def _leave(self, kept: _Kept, shape: Shape) -> None:
        kept.users -= 1
        if not kept.made and not kept.users:
            self._shapes.pop(shape, None)
        self._changed.notify_all()
