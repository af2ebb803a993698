"""What every backend offers."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segtool.card import ModelCard

Outputs = dict[str, NDArray[Any]]


class Backend(Protocol):
    """An exported model, loaded somewhere.

    Attributes:
        name: what runs it, for people.
        card: the model card.
        size: height and width that it takes; None for any.
    """

    name: str
    card: ModelCard
    size: tuple[int | None, int | None]

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Runs a batch uint8 [N,H,W,3]. May be called from several threads.

        Returns:
            labels uint8 [N,H,W], confidence float32 [N,H,W]; unary_labels uint8 [N,H,W] with a CRF; probabilities
            float32 [N,C,H,W] if they were exported.

        Raises:
            SegtoolError: it cannot be run; out of memory, for one. The backend stays usable.
        """
        ...
