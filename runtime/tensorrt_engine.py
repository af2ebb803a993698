"""An engine in TensorRT: one CUDA graph for each input shape."""

import ctypes
import math
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.bilateral import tensorrt_plugin
from segtool.bilateral.library import OVERFLOW
from segtool.engine import EngineRecord, Machine, read_record
from segtool.errors import SegtoolError
from segtool.runtime.backend import Outputs
from segtool.runtime.cuda_device import cuda_device, tensorrt, this_machine

_INPUT, _STATUS = "image", "lattice_status"
_SHAPES = 8  # of which buffers and graphs are kept; the one that was not used for longest goes


class TensorRTBackend:
    """A deserialised engine; see `Backend`. Calls from several threads run one after the other.

    Args:
        path: an `.engine` file with its record beside it.

    Raises:
        SegtoolError: no such engine, one of another machine, or TensorRT cannot run here.
    """

    size: tuple[int | None, int | None] = (None, None)

    def __init__(self, path: Path) -> None:
        self.record: EngineRecord = read_record(path)
        self.card, self._path = self.record.card, path
        trt, self._device = tensorrt(), cuda_device()
        check_machine(self.record, this_machine(trt, self._device), path)
        self.name = f"TensorRT {trt.__version__}"
        tensorrt_plugin.register(trt)
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise SegtoolError("TensorRT cannot read the engine", where=path, mend=_rebuild(self.record))
        self._context = self._engine.create_execution_context()
        self._stream = self._device.create_stream()
        self._outputs = _outputs_of(trt, self._engine)
        self._plans: OrderedDict[tuple[int, ...], _Plan] = OrderedDict()
        self._lock = threading.Lock()

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """See `Backend`."""
        profile = self.record.profile
        if not profile.holds(images.shape):
            raise SegtoolError(
                f"the engine takes images from {list(profile.min)} to {list(profile.max)}",
                where=f"images {list(images.shape)}",
                mend=f"{_rebuild(self.record)} --max NxHxW",
            )
        with self._lock:
            self._device.set_current()  # of this thread
            outputs = self._plan(images.shape).run(images)
        check_status(outputs.pop(_STATUS, None), images.shape, self.record)
        return outputs

    def _plan(self, shape: tuple[int, ...]) -> "_Plan":
        if shape in self._plans:
            self._plans.move_to_end(shape)
            return self._plans[shape]
        if len(self._plans) >= _SHAPES:
            self._plans.popitem(last=False)[1].close()
        try:
            plan = _Plan(self._device, self._stream, self._context, self._outputs, shape)
        except Exception as error:  # cuda.core's, for want of memory
            raise SegtoolError(
                f"the GPU refused ({error})", where=f"images {list(shape)}", mend="smaller batches or tiles"
            ) from error
        self._plans[shape] = plan
        return plan


class _Plan:
    """Buffers for one input shape, and the CUDA graph that runs it. The host's sides are pinned."""

    def __init__(
        self, device: Any, stream: Any, context: Any, outputs: dict[str, np.dtype], shape: tuple[int, ...]
    ) -> None:
        self._stream, self._context, self._device = stream, context, device
        self._buffers: list[Any] = []
        self._copies: list[tuple[Any, Any]] = []
        try:
            context.set_input_shape(_INPUT, shape)
            self._image, image = self._pair(_INPUT, shape, np.dtype(np.uint8))
            self._upload = image
            self._results = {}
            for name, dtype in outputs.items():
                self._results[name], (host, on_device) = self._pair(name, tuple(context.get_tensor_shape(name)), dtype)
                self._copies.append((on_device, host))
            self._graph = self._captured()
        except Exception:
            self.close()
            raise

    def _pair(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> tuple[NDArray, tuple[Any, Any]]:
        """An array in pinned memory, and the buffers behind it on the host and on the device."""
        from cuda.core import LegacyPinnedMemoryResource

        size = max(1, math.prod(shape)) * dtype.itemsize
        host = LegacyPinnedMemoryResource().allocate(size)
        self._buffers.append(host)
        on_device = self._device.allocate(size, stream=self._stream)
        self._buffers.append(on_device)
        self._context.set_tensor_address(name, int(on_device.handle))
        memory = (ctypes.c_uint8 * size).from_address(int(host.handle))
        return np.frombuffer(memoryview(memory), dtype)[: math.prod(shape)].reshape(shape), (host, on_device)

    def _captured(self) -> Any:
        self._execute()  # TensorRT prepares a new shape in its first run, which no capture may contain
        self._stream.sync()
        builder = self._stream.create_graph_builder()
        builder.begin_building()
        self._execute()
        return builder.end_building().complete()

    def _execute(self) -> None:
        host, on_device = self._upload
        host.copy_to(on_device, stream=self._stream)
        if not self._context.execute_async_v3(int(self._stream.handle)):
            raise SegtoolError("TensorRT could not start the engine")
        for on_device, host in self._copies:
            on_device.copy_to(host, stream=self._stream)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        self._image[...] = images
        self._graph.launch(self._stream)
        self._stream.sync()
        return {name: array.copy() for name, array in self._results.items()}

    def close(self) -> None:
        self._stream.sync()
        for buffer in self._buffers:
            buffer.close()
        self._buffers.clear()


def check_machine(record: EngineRecord, here: Machine, path: Path) -> None:
    """Refuses an engine that was built for another TensorRT or another kind of GPU.

    Raises:
        SegtoolError: it was; with the command that builds one for this machine.
    """
    there = record.machine
    for what, a, b in (
        ("TensorRT", there.tensorrt, here.tensorrt),
        ("GPU", f"{there.gpu} ({there.compute_capability})", f"{here.gpu} ({here.compute_capability})"),
    ):
        if a != b:
            raise SegtoolError(
                f"the engine was built for {what} {a}, and this is {b}", where=path, mend=_rebuild(record)
            )


def check_status(status: NDArray[np.int32] | None, shape: tuple[int, ...], record: EngineRecord) -> None:
    """Refuses results of a lattice that did not fit.

    Raises:
        SegtoolError: it did not, with the capacity that would.
    """
    if status is None or not status[1] & OVERFLOW:
        return
    wanted = min(6.0, 2 * record.vertices_per_pixel)
    raise SegtoolError(
        f"the image has more lattice vertices than {record.vertices_per_pixel} a pixel",
        where=f"images {list(shape)}",
        mend=f"{_rebuild(record)} --vertices-per-pixel {wanted:g}",
    )


def _rebuild(record: EngineRecord) -> str:
    return f"segtool build {record.source}"


def _outputs_of(trt: Any, engine: Any) -> dict[str, np.dtype]:
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    found = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
    return {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in found}
