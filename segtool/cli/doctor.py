"""segtool doctor"""

import os
import platform
import sys
from importlib import metadata

import click

_PACKAGES = (
    "segtool", "numpy", "onnxruntime", "onnxruntime-gpu", "torch", "torchvision", "segmentation-models-pytorch",
    "timm", "lightning", "onnx", "onnxscript", "gradio", "tensorrt",
)  # fmt: skip


@click.command("doctor")
def command() -> None:
    """Show versions and devices, and which runtimes can run here, or why not."""
    from rich.table import Table

    from segtool.cli.tables import console

    table = Table(show_header=False, box=None)
    table.add_row("machine", f"{platform.platform()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for name in _PACKAGES:
        table.add_row(name, _version(name))
    table.add_section()
    for name, check in (
        ("native library", _native),
        ("PyTorch", _torch),
        ("ONNX Runtime", _onnxruntime),
        ("TensorRT", _tensorrt),
    ):
        try:
            table.add_row(name, check())
        except Exception as error:  # a doctor reports what is broken instead of breaking
            table.add_row(name, f"cannot run: {type(error).__name__}: {error}")
    console().print(table)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _native() -> str:
    from segtool.bilateral import library

    cuda = "with CUDA kernels" if library.has_cuda() else "without CUDA kernels"
    return f"loads, {cuda}: {library.library_path()}"


def _torch() -> str:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return f"runs on the CPU and {', '.join(names)}"
    return f"runs on the CPU ({torch.get_num_threads()} threads); no CUDA device is visible"


def _onnxruntime() -> str:
    import onnxruntime as ort

    from segtool.bilateral import library

    options = ort.SessionOptions()
    options.register_custom_ops_library(str(library.library_path()))
    return f"runs, native CRF kernels register; providers: {', '.join(ort.get_available_providers())}"


def _tensorrt() -> str:
    import tensorrt

    return f"{tensorrt.__version__} is installed; segtool does not build engines yet"
