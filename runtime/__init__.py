"""Running a deployed model without PyTorch.

>>> import segtool.runtime                                # doctest: +SKIP
>>> model = segtool.runtime.load("model.onnx")            # doctest: +SKIP
>>> prediction = model(image)                             # doctest: +SKIP

`image` is uint8 [H,W,3] RGB, a PIL image or the path of a file (see `Model` for models of other bands); the answer is a
`segtool.prediction.Prediction`.
"""

import warnings
from pathlib import Path
from typing import Literal, get_args

from segtool.card import ModelCard
from segtool.engine import read_record
from segtool.errors import SegtoolError, SegtoolWarning
from segtool.runtime.backend import Backend
from segtool.runtime.model import Model
from segtool.runtime.tiles import Tiles, predict_tiled

__all__ = ["Backend", "BackendName", "Model", "Tiles", "card_of", "load", "predict_tiled"]

BackendName = Literal["auto", "tensorrt", "cuda", "cpu"]


def load(path: str | Path, *, backend: BackendName = "auto", native: bool = True, threads: int | None = None) -> Model:
    """Opens an exported model.

    Args:
        path: an `.onnx` file that `segtool export` wrote, or an `.engine` that `segtool build` made of one.
        backend: tensorrt for an engine; cuda or cpu for ONNX Runtime; auto: an engine in TensorRT, a file in ONNX
            Runtime on a CUDA device where it was built for one (if that cannot start, with a warning) or on the CPU.
        native: use the native library's kernels for the CRF; False runs the portable definition inside
            the file, as any other ONNX runtime would.
        threads: threads of ONNX Runtime and the CRF's kernels on the processor, 1 or more; all cores when not given.

    Raises:
        SegtoolError: not such a file, the backend cannot run here, or no such number of threads.
    """
    path = Path(path)
    _check_options(path, backend, threads)
    if path.suffix == ".engine":
        from segtool.runtime.tensorrt_engine import TensorRTBackend

        return Model(TensorRTBackend(path))
    from segtool.runtime.onnx_runtime import OnnxRuntimeBackend, cuda_is_there, warn_if_overwritten

    if backend == "auto":
        warn_if_overwritten()
    if backend == "cuda" or (backend == "auto" and cuda_is_there()):
        try:
            return Model(OnnxRuntimeBackend(path, native=native, device="cuda", threads=threads))
        except SegtoolError as error:
            if backend == "cuda":
                raise
            warnings.warn(f"going on on the CPU: {error.what}", SegtoolWarning, stacklevel=2)
    return Model(OnnxRuntimeBackend(path, native=native, device="cpu", threads=threads))


def _check_options(path: Path, backend: str, threads: object) -> None:
    if threads is not None and (type(threads) is not int or threads < 1):
        raise SegtoolError("threads is not a number of 1 or more", where=repr(threads), mend="None takes all cores")
    if backend not in get_args(BackendName):
        raise SegtoolError(f"there is no backend {backend}", mend=f"one of {', '.join(get_args(BackendName))}")
    if path.suffix not in (".onnx", ".engine"):
        raise SegtoolError(
            "the runtime runs .onnx and .engine files", where=path, mend="segtool export RUN writes an .onnx"
        )
    if (path.suffix == ".engine") != (backend == "tensorrt") and backend != "auto":
        mend = "segtool build makes an engine of an .onnx" if backend == "tensorrt" else "give the .onnx file"
        raise SegtoolError(f"{backend} does not run {path.suffix} files", where=path, mend=mend)


def card_of(path: Path) -> ModelCard:
    """The model card of an exported model, which need not be able to run on this machine.

    Raises:
        SegtoolError: not such a file.
    """
    if path.suffix == ".engine":
        return read_record(path).card
    return load(path, backend="cpu").card
