"""Running a deployed model without PyTorch.

>>> import segtool.runtime                                # doctest: +SKIP
>>> model = segtool.runtime.load("model.onnx")            # doctest: +SKIP
>>> prediction = model(image)                             # doctest: +SKIP

`image` is uint8 [H,W,3] RGB; the answer is a `segtool.prediction.Prediction`.
"""

from pathlib import Path

from segtool.errors import SegtoolError
from segtool.runtime.onnx_model import OnnxModel

__all__ = ["OnnxModel", "load"]


def load(path: str | Path, *, native: bool = True, threads: int | None = None) -> OnnxModel:
    """Opens an exported model.

    Args:
        path: an `.onnx` file that `segtool export` wrote.
        native: use the native library's kernels for the CRF; False runs the portable definition inside
            the file, as any other ONNX runtime would.
        threads: threads of ONNX Runtime; all cores when not given.

    Raises:
        SegtoolError: not such a file.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise SegtoolError("the runtime runs .onnx files", where=path, mend="segtool export RUN writes one")
    return OnnxModel(path, native=native, threads=threads)
