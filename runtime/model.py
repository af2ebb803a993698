"""A deployed model, whatever runs it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.card import ModelCard
from segtool.errors import SegtoolError
from segtool.prediction import Prediction
from segtool.runtime.backend import Backend, DeviceOutputs, Outputs, check_size

Image = NDArray[np.uint8]


class Model:
    """Callable on uint8 [H,W,3] RGB images of any size (or the fixed size of the export), from several threads.

    Attributes:
        backend: what runs it.
        card: the model card.
        concurrency: calls at once that are faster than one after the other.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.card: ModelCard = backend.card
        self.concurrency = backend.concurrency

    def __call__(self, image: Image) -> Prediction:
        """Segments one image.

        Raises:
            SegtoolError: not uint8 [H,W,3], or not of the model's fixed size.
        """
        return self.batch([image])[0]

    def batch(self, images: Sequence[Image]) -> list[Prediction]:
        """Segments images of one size in one run.

        Raises:
            SegtoolError: not uint8 [H,W,3], of several sizes, or not of the model's fixed size.
        """
        if not images:
            return []
        for image in images:
            self.check(image)
        if len({image.shape for image in images}) > 1:
            sizes = ", ".join(f"{image.shape[1]}x{image.shape[0]}" for image in images)
            raise SegtoolError("images of one batch must have one size", where=sizes, mend="run them one at a time")
        outputs = self.backend.run(np.stack(images))
        return [_prediction(outputs, i) for i in range(len(images))]

    def on_device(self, images: Any) -> DeviceOutputs:
        """Segments a batch that is where the model runs, and leaves the outputs there.

        Args:
            images: uint8 [N,H,W,3], contiguous: a torch.Tensor, a CuPy array, or whatever else has `__dlpack__` or
                `__cuda_array_interface__`.

        Returns:
            `labels` uint8 [N,H,W], `confidence` float32 [N,H,W] and the exported model's other outputs, by name; they
            have `__dlpack__`, so that `torch.from_dlpack(outputs["labels"])` and its like take them over.

        Raises:
            SegtoolError: not such an array, or elsewhere, or not of the model's fixed size.
        """
        return self.backend.run_on_device(images)

    def check(self, image: Image) -> None:
        """Whether the model takes an image.

        Raises:
            SegtoolError: not uint8 [H,W,3], or not of the model's fixed size.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise SegtoolError("an image must be uint8 [H,W,3]", where=f"{image.dtype} {list(image.shape)}")
        check_size(image.shape[:2], self.backend.size)


def _prediction(outputs: Outputs, index: int) -> Prediction:
    one = {name: values[index] for name, values in outputs.items()}
    return Prediction(one["labels"], one["confidence"], one.get("unary_labels"), one.get("probabilities"))
