"""The CUDA device and TensorRT of this machine, and arrays in its memory."""

import ctypes
import math
import sys
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.engine import Machine
from segtool.errors import SegtoolError

# ONNX Runtime for CUDA and the one for the processor write into one folder: of both, the one that came last is there;
# and where one is uninstalled, neither.
INSTALL_ONNXRUNTIME = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'segtool[gpu]'"
_MEND = "pip install 'segtool[gpu]' tensorrt, on a machine with an NVIDIA GPU and driver; segtool doctor says more"


def has_driver() -> bool:
    """Whether NVIDIA's driver is on this machine; not whether it has a device."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def tensorrt() -> Any:
    """The module.

    Raises:
        SegtoolError: it is not installed, or lacks its libraries.
    """
    try:
        return import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise SegtoolError(f"TensorRT cannot be imported ({error})", mend=_MEND) from error


def cuda_device() -> Any:
    """The first device, as cuda.core has it, made current.

    Raises:
        SegtoolError: cuda.core is not installed, or there is no device.
    """
    try:
        device = import_module("cuda.core").Device()
        device.set_current()
    except Exception as error:  # no driver, no device, not installed: classes of several libraries
        raise SegtoolError(f"no CUDA device can be used ({error})", mend=_MEND) from error
    return device


def this_machine(trt: Any, device: Any) -> Machine:
    """What an engine that is built here depends on."""
    capability = device.compute_capability
    driver = import_module("cuda.core").system.get_kernel_mode_driver_version()
    return Machine(
        tensorrt=trt.__version__,
        gpu=device.name,
        compute_capability=f"{capability.major}.{capability.minor}",
        driver=".".join(map(str, driver)) if isinstance(driver, tuple) else str(driver),
    )


def pinned(shape: tuple[int, ...], dtype: np.dtype) -> tuple[Any, NDArray]:
    """Page-locked memory of the host, which the device copies from and to by itself.

    Returns:
        The buffer, and an array on it that is to be used no longer than the buffer is open.
    """
    count = math.prod(shape)
    buffer = import_module("cuda.core").LegacyPinnedMemoryResource().allocate(max(1, count) * dtype.itemsize)
    memory = (ctypes.c_uint8 * (count * dtype.itemsize)).from_address(int(buffer.handle))
    return buffer, np.frombuffer(memoryview(memory), dtype).reshape(shape)


def device_view(array: Any, stream: Any) -> Any:
    """Takes over an array that lies on the device, of any library, without a copy.

    Args:
        array: it has `__dlpack__` or `__cuda_array_interface__`.
        stream: of cuda.core; what comes on it later sees what was written to the array before.

    Returns:
        A `cuda.core.utils.StridedMemoryView`.

    Raises:
        SegtoolError: it cannot be taken over, lies elsewhere, or is not contiguous.
    """
    views = import_module("cuda.core.utils").StridedMemoryView
    try:
        view = views.from_any_interface(array, stream_ptr=int(stream.handle))
    except Exception as error:  # of the array's library
        raise SegtoolError(f"the array cannot be taken over ({error})", where=type(array).__name__) from error
    if not view.is_device_accessible:
        raise SegtoolError("the array does not lie on the device", mend="call the model itself with NumPy arrays")
    dense = tuple(math.prod(view.shape[axis + 1 :]) for axis in range(len(view.shape)))
    if view.strides not in (None, dense):
        raise SegtoolError("the array is not contiguous", where=f"strides {view.strides}", mend="copy it")
    return view


def buffer_view(buffer: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """An array on a buffer of the device, which other libraries can take over; it keeps the buffer open."""
    return import_module("cuda.core.utils").StridedMemoryView.from_buffer(buffer, shape, dtype=dtype)
