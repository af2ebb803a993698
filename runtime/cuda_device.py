"""The CUDA device and TensorRT of this machine."""

from importlib import import_module
from typing import Any

from segtool.engine import Machine
from segtool.errors import SegtoolError

_MEND = "pip install 'segtool[gpu]' tensorrt, on a machine with an NVIDIA GPU and driver; segtool doctor says more"


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
