"""An exported model in ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from segtool.bilateral.library import library_path
from segtool.card import METADATA_KEY, ModelCard, parse_card
from segtool.errors import SegtoolError
from segtool.prediction import Prediction


class OnnxModel:
    """Callable on uint8 [H,W,3] RGB images of any size (or the fixed size of the export).

    Attributes:
        card: the model card.
        session: the ONNX Runtime session. Calls may come from several threads.
    """

    def __init__(self, path: Path, *, native: bool = True, threads: int | None = None) -> None:
        if not path.is_file():
            raise SegtoolError("no such model", where=path)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # Idle threads that spin would take the cores from the native kernels' own threads.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        self.native = native
        if native:
            options.register_custom_ops_library(str(library_path()))
        try:
            self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exception classes share no public base
            raise SegtoolError(f"ONNX Runtime cannot load the file ({_first_line(error)})", where=path) from error
        self.card: ModelCard = parse_card(self.session.get_modelmeta().custom_metadata_map.get(METADATA_KEY), path)
        self._outputs = [output.name for output in self.session.get_outputs()]
        self._size = tuple(d if isinstance(d, int) else None for d in self.session.get_inputs()[0].shape[1:3])

    def __call__(self, image: NDArray[np.uint8]) -> Prediction:
        """Segments one image.

        Raises:
            SegtoolError: not uint8 [H,W,3], or not of the model's fixed size.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise SegtoolError("an image must be uint8 [H,W,3]", where=f"{image.dtype} {list(image.shape)}")
        for have, want, side in zip(image.shape[:2], self._size, ("height", "width"), strict=True):
            if want is not None and have != want:
                raise SegtoolError(
                    f"the model was exported for {side} {want}",
                    where=f"image of {have}",
                    mend="resize the image",
                )
        outputs = self.session.run(self._outputs, {"image": image[None]})
        named = {name: value[0] for name, value in zip(self._outputs, outputs, strict=True)}
        return Prediction(named["labels"], named["confidence"], named.get("unary_labels"), named.get("probabilities"))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
