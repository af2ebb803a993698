"""A deployed model, whatever runs it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segtool.card import ModelCard
from segtool.errors import SegtoolError
from segtool.prediction import Prediction
from segtool.runtime.backend import Backend, Outputs

Image = NDArray[np.uint8]


class Model:
    """Callable on uint8 [H,W,3] RGB images of any size (or the fixed size of the export), from several threads.

    Attributes:
        backend: what runs it.
        card: the model card.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.card: ModelCard = backend.card

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

    def check(self, image: Image) -> None:
        """Whether the model takes an image.

        Raises:
            SegtoolError: not uint8 [H,W,3], or not of the model's fixed size.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise SegtoolError("an image must be uint8 [H,W,3]", where=f"{image.dtype} {list(image.shape)}")
        for have, want, side in zip(image.shape[:2], self.backend.size, ("height", "width"), strict=True):
            if want is not None and have != want:
                raise SegtoolError(
                    f"the model was exported for {side} {want}",
                    where=f"image of {have}",
                    mend="resize the image, or segtool predict --tile",
                )


def _prediction(outputs: Outputs, index: int) -> Prediction:
    one = {name: values[index] for name, values in outputs.items()}
    return Prediction(one["labels"], one["confidence"], one.get("unary_labels"), one.get("probabilities"))
