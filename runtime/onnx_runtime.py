"""An exported model in ONNX Runtime, on the processor or a CUDA device."""

import contextlib
import sys
import warnings
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from segtool.card import METADATA_KEY, ModelCard, parse_card
from segtool.crf.library import library_path
from segtool.errors import SegtoolError, SegtoolWarning
from segtool.input_contract import InputContract
from segtool.integrity import onnx_is_intact
from segtool.runtime.backend import LOGITS, DeviceOutputs, Outputs, check_batch
from segtool.runtime.cuda_device import INSTALL_ONNXRUNTIME, has_driver

Device = Literal["cpu", "cuda"]
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_KINDS = {"float": "float32"}  # where ONNX Runtime and NumPy have other names
_OUTPUTS = {"labels": ("tensor(uint8)", 3), "confidence": ("tensor(float)", 3)}
_INSTALL_CUDA = "pip install 'segtool[gpu]' on a machine with an NVIDIA driver, or choose the backend cpu"
# The smallest model there is: y = Identity(x), one float.
_IDENTITY = (
    b'\x08\x07\x12\x00:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)


class OnnxRuntimeBackend:
    """A session; see `Backend`.

    Args:
        native: use the native library's kernels for the CRF. Where the library is missing, the definition inside the
            file takes their place, with a warning.
        device: where it runs.
        threads: of the processor; all cores when not given.
        options: of the session, to start from.

    Raises:
        SegtoolError: no such file, not an exported model, or the device cannot be used.
    """

    concurrency = 1  # a run has all threads of the session already

    def __init__(
        self,
        path: Path,
        *,
        native: bool = True,
        device: Device = "cpu",
        threads: int | None = None,
        options: ort.SessionOptions | None = None,
    ) -> None:
        if not path.is_file():
            raise SegtoolError("no such model", where=path)
        options = options or ort.SessionOptions()
        # Its exceptions say all that it writes, but why CUDA does not start.
        options.log_severity_level = 4 if device == "cpu" else 3
        # Idle threads that spin would take the cores from the native kernels' own threads.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        providers = _providers(device)
        self._device = device
        self.native = native and _register_kernels(options)
        try:
            self.session = ort.InferenceSession(path, options, providers=providers)
        except Exception as error:  # ONNX Runtime's exception classes share no public base
            what = f"ONNX Runtime cannot load the file ({_first_line(error)})"
            mend = "it is damaged, or was not written by segtool export: copy or export it again"
            raise SegtoolError(what, where=path, mend=mend) from error
        _check_started(self.session, device)
        self.card: ModelCard = parse_card(_metadata(self.session, path), path)
        _check_ends(self.session, self.card.input, path)
        warn_if_changed(path)
        _warn_of_half(self.card, device)
        height, width = (d if isinstance(d, int) else None for d in self.session.get_inputs()[0].shape[1:3])
        self.size = (height, width)
        kernels = "native library" if self.native else "function bodies"
        self.name = f"ONNX Runtime {device.upper()}, {kernels}"
        names = {output.name: None for output in self.session.get_outputs()}
        self._outputs, self.has_logits = [name for name in names if name != LOGITS], LOGITS in names

    def nearest(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """See `Backend`."""
        n, height, width = shape
        return n, self.size[0] or height, self.size[1] or width

    def run(self, images: NDArray[Any]) -> Outputs:
        """See `Backend`."""
        try:
            values = self.session.run(self._outputs, {"image": images})
        except Exception as error:  # as above
            raise SegtoolError(f"ONNX Runtime failed ({_first_line(error)})", where=f"images {images.shape}") from error
        return dict(zip(self._outputs, values, strict=True))

    def logits(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """See `Backend`."""
        options = ort.RunOptions()
        options.only_execute_path_to_fetches = True  # not the CRF behind them
        try:
            found: NDArray[np.float32] = self.session.run([LOGITS], {"image": images}, options)[0]
        except Exception as error:  # as above
            raise SegtoolError(f"ONNX Runtime failed ({_first_line(error)})", where=f"images {images.shape}") from error
        return found

    def run_on_device(self, images: Any) -> DeviceOutputs:
        """See `Backend`."""
        value = self._taken_over(images)
        binding = self.session.io_binding()
        binding.bind_ortvalue_input("image", value)
        for name in self._outputs:
            binding.bind_output(name, self._device)
        binding.synchronize_inputs()  # whoever writes them may still be at it
        try:
            self.session.run_with_iobinding(binding)
        except Exception as error:  # as above
            raise SegtoolError(
                f"ONNX Runtime failed ({_first_line(error)})", where=f"images {value.shape()}"
            ) from error
        binding.synchronize_outputs()
        return dict(zip(self._outputs, binding.get_outputs(), strict=True))

    def _taken_over(self, images: Any) -> ort.OrtValue:
        try:
            if not hasattr(images, "__dlpack__"):  # only __cuda_array_interface__
                images = import_module("cuda.core.utils").StridedMemoryView.from_any_interface(images, stream_ptr=-1)
            value = ort.OrtValue.from_dlpack(images)
        except Exception as error:  # of the array's library, or ONNX Runtime's
            raise SegtoolError(
                f"the array cannot be taken over ({_first_line(error)})",
                where=type(images).__name__,
                mend="give a contiguous array that can be written to",
            ) from error
        if value.device_name() != self._device:
            raise SegtoolError(
                f"the images are on {value.device_name()}, and the model runs on {self._device}",
                mend="move them there, or load the model with another backend",
            )
        kind = value.data_type().removeprefix("tensor(").removesuffix(")")
        check_batch(_KINDS.get(kind, kind), tuple(value.shape()), self.size, self.card.input)
        return value


def _metadata(session: ort.InferenceSession, path: Path) -> str | None:
    try:
        found: str | None = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    except UnicodeDecodeError as error:
        raise SegtoolError("the file's metadata are no text", where=path, mend="copy or export it again") from error
    return found


def _check_ends(session: ort.InferenceSession, contract: InputContract, path: Path) -> None:
    """Whether inputs and outputs are those that `segtool export` writes; a card alone does not say so."""
    inputs = [(value.name, value.type, len(value.shape), value.shape[-1]) for value in session.get_inputs()]
    kind = next((name for name, kind in _KINDS.items() if kind == contract.kind), contract.kind)
    outputs = {value.name: (value.type, len(value.shape)) for value in session.get_outputs()}
    ranks = {name: outputs.get(name) for name in _OUTPUTS}
    if inputs != [("image", f"tensor({kind})", 4, contract.channels)] or ranks != _OUTPUTS:
        what = f"the file has other inputs or outputs than a model of segtool export, {', '.join(outputs)}"
        raise SegtoolError(what, where=path, mend="export the run again")


def cuda_is_there() -> bool:
    """Whether this ONNX Runtime was built for CUDA; not whether a device is free."""
    return _CUDA in ort.get_available_providers()


def warn_if_overwritten() -> None:
    """Tells where ONNX Runtime for CUDA is installed, but the one for the processor has overwritten it."""
    if not cuda_is_there() and _is_installed("onnxruntime-gpu"):
        warnings.warn(f"onnxruntime has overwritten onnxruntime-gpu ({INSTALL_ONNXRUNTIME})", SegtoolWarning, 3)


def warn_if_changed(path: Path) -> None:
    """Tells that a file is not what segtool wrote. No error: other programs that optimize files keep its digest."""
    if onnx_is_intact(path) is False:
        warnings.warn(
            f"the file is not as segtool wrote it: {path} (another program changed it, or it is damaged: "
            "compare it with its run by segtool verify, or copy it again)",
            SegtoolWarning,
            3,
        )


def _warn_of_half(card: ModelCard, device: Device) -> None:
    # Seen with HardSigmoid in 1.17 to 1.19: other numbers at each run.
    if card.precision == "float16" and device == "cpu" and tuple(map(int, ort.__version__.split(".")[:2])) < (1, 20):
        warnings.warn(
            f"ONNX Runtime {ort.__version__} is wrong in half precision on a processor "
            "(pip install 'onnxruntime>=1.20', or use the float32 file)",
            SegtoolWarning,
            3,
        )


def _is_installed(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def try_cuda() -> None:
    """Starts ONNX Runtime on the CUDA device, for nothing but to see whether it does.

    Raises:
        SegtoolError: it does not.
    """
    _check_started(ort.InferenceSession(_IDENTITY, providers=_providers("cuda")), "cuda")


def _check_started(session: ort.InferenceSession, device: Device) -> None:
    # Where CUDA cannot start, ONNX Runtime says why on stderr and goes on on the processor.
    if device == "cuda" and _CUDA not in session.get_providers():
        raise SegtoolError("ONNX Runtime cannot start on the CUDA device", mend=_INSTALL_CUDA)


def _providers(device: Device) -> list[str]:
    if device == "cpu":
        return [_CPU]
    if not cuda_is_there():
        raise SegtoolError("this ONNX Runtime was built without CUDA", mend=INSTALL_ONNXRUNTIME)
    if not has_driver():
        raise SegtoolError("there is no NVIDIA driver", mend=_INSTALL_CUDA)
    if hasattr(ort, "preload_dlls"):  # since 1.21
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
            ort.preload_dlls()  # CUDA's libraries come as wheels, where nothing else looks for them
    return [_CUDA, _CPU]


def _register_kernels(options: ort.SessionOptions) -> bool:
    try:
        options.register_custom_ops_library(str(library_path()))
    except Exception as error:  # missing; or it does not load, which is ONNX Runtime's exception
        warnings.warn(
            f"the CRF runs by its portable definition, which is slower: {_first_line(error)}", SegtoolWarning, 2
        )
        return False
    return True


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
