"""An engine in TensorRT, on arrays of the host or of the device."""

import hashlib
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.crf import tensorrt_plugin
from segtool.crf.library import OVERFLOW
from segtool.engine import INPUT, STATUS, EngineRecord, Machine, input_kind, read_record
from segtool.errors import SegtoolError
from segtool.runtime.backend import DeviceOutputs, Outputs, check_batch
from segtool.runtime.cuda_device import buffer_view, cuda_device, device_view, pinned, tensorrt, this_machine
from segtool.runtime.tensorrt_slots import SLOTS, Execution, Slots, no_room

_OnDevice = tuple[Any, tuple[int, ...], np.dtype]  # buffer, shape, type


class TensorRTBackend:
    """A deserialised engine; see `Backend`. While one call computes, the images of another are copied.

    Args:
        path: an `.engine` file with its record beside it.

    Raises:
        SegtoolError: no such engine, one of another machine, or TensorRT cannot run here.
    """

    concurrency = SLOTS
    has_logits = False

    def __init__(self, path: Path) -> None:
        self.record: EngineRecord = read_record(path)
        plan = path.read_bytes()  # at once: another one may take its place
        self.card, self._path = self.record.card, path
        self.size = self.record.profile.size
        trt, self._device = tensorrt(), cuda_device()
        check_machine(self.record, this_machine(trt, self._device), path)
        self.name = f"TensorRT {trt.__version__}"
        tensorrt_plugin.register(trt)
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        if self.record.digest not in (None, hashlib.sha256(plan).hexdigest()):
            raise SegtoolError(
                "the engine is damaged, it is not what was written", where=path, mend=_rebuild(self.record)
            )
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise SegtoolError("TensorRT cannot read the engine", where=path, mend=_rebuild(self.record))
        self._execution = Execution(
            self._device,
            self._engine.create_execution_context(),
            self._device.create_stream(),
            threading.Lock(),
            _outputs_of(trt, self._engine),
            np.dtype(input_kind(self.card.input)),
        )
        self._slots = Slots(self._execution)

    def logits(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Engines give none."""
        raise SegtoolError("an engine gives no logits", where=self.name, mend="use the .onnx file")

    def nearest(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """See `Backend`."""
        return self.record.profile.nearest(shape)

    def run(self, images: NDArray[Any]) -> Outputs:
        """See `Backend`."""
        self._check_shape(images.shape)
        self._device.set_current()  # of this thread
        with self._slots.taken(images.shape) as slot:
            outputs = slot.run(images)
        check_status(outputs.pop(STATUS, None), images.shape, self.record)
        return outputs

    def run_on_device(self, images: Any) -> DeviceOutputs:
        """See `Backend`."""
        self._device.set_current()
        view = device_view(images, self._execution.stream)
        contract = self.card.input.model_copy(update={"kind": input_kind(self.card.input)})
        check_batch(str(view.dtype), view.shape, self.size, contract)
        self._check_shape(view.shape)
        outputs = self._computed(view)
        status = outputs.pop(STATUS, None)
        check_status(None if status is None else self._downloaded(status), view.shape, self.record)
        return {name: buffer_view(*output) for name, output in outputs.items()}

    def _computed(self, view: Any) -> dict[str, _OnDevice]:
        execution, context = self._execution, self._execution.context
        with execution.lock:
            context.set_input_shape(INPUT, view.shape)
            context.set_tensor_address(INPUT, view.ptr)
            outputs = {}
            for name, dtype in execution.outputs.items():
                shape = tuple(context.get_tensor_shape(name))
                size = max(1, math.prod(shape)) * dtype.itemsize
                try:
                    buffer = self._device.allocate(size, stream=execution.stream)
                except Exception as error:  # cuda.core's, for want of memory
                    raise no_room(view.shape, error) from error
                context.set_tensor_address(name, int(buffer.handle))
                outputs[name] = (buffer, shape, dtype)
            execution.execute()
            execution.stream.sync()
        return outputs

    def _downloaded(self, status: _OnDevice) -> NDArray[np.int32]:
        buffer, shape, dtype = status
        host, array = pinned(shape, dtype)
        buffer.copy_to(host, stream=self._execution.stream)
        self._execution.stream.sync()
        found = array.copy()
        host.close()
        return found

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        profile = self.record.profile
        if not profile.holds(shape):
            raise SegtoolError(
                f"the engine takes images from {list(profile.min)} to {list(profile.max)}",
                where=f"images {list(shape)}",
                mend=f"{_rebuild(self.record)} --max NxHxW",
            )


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
