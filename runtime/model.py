"""A deployed model, whatever runs it."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.card import ModelCard
from segtool.errors import SegtoolError
from segtool.prediction import Prediction
from segtool.readers import reader_of
from segtool.runtime.backend import Backend, DeviceOutputs, Outputs, check_size
from segtool.runtime.inputs import ImageLike, as_image, as_images


class Model:
    """Callable on images of any size (or the fixed size of the export), from several threads.

    An image is uint8 [H,W,3] RGB, a PIL image, or the path of a file. Of a model that was trained on bands it is
    [H,W,B] of the kind that `card.input` says, or the path of a file.

    Attributes:
        backend: what runs it.
        card: the model card.
        reader: reads image files as the model takes them.
        concurrency: calls at once that are faster than one after the other.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.card: ModelCard = backend.card
        self.reader = reader_of(self.card.input)
        self.concurrency = backend.concurrency

    def __call__(self, image: ImageLike) -> Prediction:
        """Segments one image.

        Raises:
            SegtoolError: no image, not as the model takes it, or not of its fixed size.
        """
        return self.batch([self.taken(image)])[0]

    def batch(self, images: Iterable[ImageLike]) -> list[Prediction]:
        """Segments images of one size in one run.

        Args:
            images: a list of them, or an array [N,H,W,B].

        Raises:
            SegtoolError: no images, not as the model takes them, of several sizes, or not of its fixed size.
        """
        arrays = as_images(images, self.card.input)
        if not arrays:
            return []
        for array in arrays:
            self.check(array)
        if len({array.shape for array in arrays}) > 1:
            sizes = ", ".join(f"{array.shape[0]}x{array.shape[1]}" for array in arrays)
            raise SegtoolError("images of one batch must have one size", where=sizes, mend="run them one at a time")
        outputs = self.backend.run(np.stack(arrays))
        return [_prediction(outputs, i) for i in range(len(arrays))]

    def logits(self, image: ImageLike) -> NDArray[np.float32]:
        """What the dense CRF starts from, float32 [C,H,W]; of a model without one, what its labels are the largest of.

        Raises:
            SegtoolError: the model was not exported with `--logits`; no image, or not of the model's fixed size.
        """
        self.check_logits()
        array = self.taken(image)
        self.check(array)
        return self.backend.logits(array[None])[0]

    def check_logits(self) -> None:
        """Whether the model gives logits.

        Raises:
            SegtoolError: it was not exported with `--logits`.
        """
        if not self.backend.has_logits:
            mend = "segtool export RUN --logits writes one that does, for ONNX Runtime"
            raise SegtoolError("the model does not give logits", where=self.backend.name, mend=mend)

    def on_device(self, images: Any) -> DeviceOutputs:
        """Segments a batch that is where the model runs, and leaves the outputs there.

        Args:
            images: [N,H,W,B] of the model's kind, contiguous: a torch.Tensor, a CuPy array, or whatever else has
                `__dlpack__` or `__cuda_array_interface__`.

        Returns:
            `labels` uint8 [N,H,W], `confidence` float32 [N,H,W] and the exported model's other outputs, by name; they
            have `__dlpack__`, so that `torch.from_dlpack(outputs["labels"])` and its like take them over.

        Raises:
            SegtoolError: not such an array, or elsewhere, or not of the model's fixed size.
        """
        return self.backend.run_on_device(images)

    def taken(self, image: ImageLike) -> NDArray[Any]:
        """An image as the array [H,W,B] that the model takes.

        Raises:
            SegtoolError: it is none.
        """
        return as_image(image, self.card.input)

    def check(self, image: NDArray[Any]) -> None:
        """Whether the model takes an image [H,W,B] of this size.

        Raises:
            SegtoolError: not of the model's fixed size.
        """
        check_size(image.shape[:2], self.backend.size)


def _prediction(outputs: Outputs, index: int) -> Prediction:
    one = {name: values[index] for name, values in outputs.items()}
    before = {name: one.get(name) for name in ("unary_labels", "context_labels", "probabilities")}
    return Prediction(one["labels"], one["confidence"], **before)
