"""segtool doctor"""

import os
import platform
import sys
from importlib import metadata
from typing import NamedTuple

import click

from segtool.errors import SegtoolError

_PACKAGES = (
    "segtool", "numpy", "onnxruntime", "onnxruntime-gpu", "torch", "torchvision", "segmentation-models-pytorch",
    "timm", "lightning", "transformers", "onnx", "onnxscript", "gradio", "ray", "av", "pillow-heif", "pycocotools",
    "rasterio", "shapely", "cuda-core", "tensorrt",
)  # fmt: skip


class Finding(NamedTuple):
    """Whether something can run here: how, or why not; and the command that would change that."""

    name: str
    works: bool
    text: str
    mend: str = ""


@click.command("doctor")
def command() -> None:
    """Show versions and devices, what can run here, and the command that would enable what cannot."""
    from rich.table import Table

    from segtool.cli.tables import console

    versions = Table(show_header=False, box=None)
    versions.add_row("machine", f"{platform.platform()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for name in _PACKAGES:
        versions.add_row(name, _version(name))
    console().print(versions)
    table = Table(show_header=False, box=None, padding=(0, 1))
    for finding in examine():
        table.add_row("" if finding.works else "-", finding.name, finding.text)
        if finding.mend:
            table.add_row("", "", f"to enable it: {finding.mend}")
    console().print(table)


def examine() -> list[Finding]:
    """What can run on this machine."""
    from segtool.runtime.cuda_device import INSTALL_ONNXRUNTIME, has_driver

    checks = {
        "native library": (_native, "pip install . (needs a C++ compiler)"),
        "evaluation": (_evaluation, "pip install 'segtool[cpu,eval]'"),
        "training": (_torch, "pip install 'segtool[train]'"),
        "ONNX Runtime CPU": (_onnxruntime, "pip install 'segtool[cpu]'"),
        "ONNX Runtime CUDA": (_onnxruntime_cuda, INSTALL_ONNXRUNTIME),
        "TensorRT": (_tensorrt, "pip install tensorrt 'segtool[gpu]'"),
        "export": (_export, "pip install 'segtool[export]'"),
        "demo": (_demo, "pip install 'segtool[demo]'"),
        "serving": (_serving, "pip install 'segtool[serve]'"),
        "video": (_video, "pip install 'segtool[video]'"),
        "HEIC": (_heic, "pip install 'segtool[heic]'"),
        "polygons and maps": (_data, "pip install 'segtool[data]'"),
    }
    found = []
    for name, (check, mend) in checks.items():
        try:
            found.append(Finding(name, True, check()))
        except Exception as error:  # a doctor reports what is broken instead of breaking
            needs_gpu = name in ("ONNX Runtime CUDA", "TensorRT") and not has_driver()
            mend = "a machine with an NVIDIA GPU and driver, then " + mend if needs_gpu else mend
            reason = error.what if isinstance(error, SegtoolError) else f"{type(error).__name__}: {error}"
            found.append(Finding(name, False, f"cannot run: {reason}", mend))
    return found


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _native() -> str:
    from segtool.crf import library

    cuda = "with CUDA kernels" if library.has_cuda() else "without CUDA kernels"
    return f"loads, {cuda}: {library.library_path()}"


def _evaluation() -> str:
    import jinja2  # noqa: F401
    import matplotlib  # noqa: F401
    import pandas  # noqa: F401
    import scipy  # noqa: F401

    from segtool.evaluation.library import library

    library()
    return "scores, tables and reports"


def _torch() -> str:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return f"PyTorch on the CPU and {', '.join(names)}"
    return f"PyTorch on the CPU ({torch.get_num_threads()} threads); no CUDA device is visible"


def _onnxruntime() -> str:
    import onnxruntime as ort

    from segtool.crf import library

    options = ort.SessionOptions()
    options.register_custom_ops_library(str(library.library_path()))
    return "runs, native CRF kernels register"


def _onnxruntime_cuda() -> str:
    from segtool.runtime.onnx_runtime import try_cuda

    try_cuda()
    return "runs"


def _tensorrt() -> str:
    from segtool.runtime.cuda_device import cuda_device, tensorrt, this_machine

    machine = this_machine(tensorrt(), cuda_device())
    return f"TensorRT {machine.tensorrt} on {machine.gpu}, driver {machine.driver}"


def _export() -> str:
    import onnx
    import onnxscript

    return f"onnx {onnx.__version__}, onnxscript {onnxscript.__version__}"


def _demo() -> str:
    import gradio

    return f"gradio {gradio.__version__}"


def _serving() -> str:
    import fastapi_offline  # noqa: F401  (installed, or this says what is missing)
    import pyarrow
    import ray

    return f"Ray {ray.__version__}, pyarrow {pyarrow.__version__}"


def _video() -> str:
    import av

    return f"PyAV {av.__version__}"


def _data() -> str:
    import pycocotools.mask  # noqa: F401  (installed, or this says what is missing)
    import rasterio
    import shapely

    gdal = rasterio.__gdal_version__
    return f"pycocotools, shapely {shapely.__version__}, rasterio {rasterio.__version__} (GDAL {gdal})"


def _heic() -> str:
    import pillow_heif

    return f"pillow-heif {pillow_heif.__version__}"
