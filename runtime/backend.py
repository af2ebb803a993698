"""What every backend offers."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segtool.card import ModelCard
from segtool.errors import SegtoolError
from segtool.input_contract import InputContract

LOGITS = "logits"  # an output that only some exported models have
Outputs = dict[str, NDArray[Any]]


class DeviceArray(Protocol):
    """An array that other libraries can take over without a copy: `torch.from_dlpack(array)`, and so in CuPy, JAX..."""

    def __dlpack__(self, **options: Any) -> Any: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


DeviceOutputs = dict[str, DeviceArray]


class Backend(Protocol):
    """An exported model, loaded somewhere.

    Attributes:
        name: what runs it, for people.
        card: the model card.
        size: height and width that it takes; None for any.
        concurrency: calls of `run` at once that are faster than one after the other.
        has_logits: whether `logits` can be called.
    """

    has_logits: bool
    name: str
    card: ModelCard
    size: tuple[int | None, int | None]
    concurrency: int

    def nearest(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Of batches (N, H, W): the one nearest to `shape` that it takes."""
        ...

    def run(self, images: NDArray[Any]) -> Outputs:
        """Runs a batch [N,H,W,B]. May be called from several threads.

        Returns:
            labels uint8 [N,H,W], confidence float32 [N,H,W]; unary_labels uint8 [N,H,W] with a CRF; context_labels
            uint8 [N,H,W] with a contextual and a dense one; probabilities float32 [N,C,H,W] if they were exported.

        Raises:
            SegtoolError: it cannot be run; out of memory, for one. The backend stays usable.
        """
        ...

    def logits(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """What the dense CRF starts from, float32 [N,C,H,W], of a batch [N,H,W,B]; the CRF is not run.

        Raises:
            SegtoolError: it cannot be run.
        """
        ...

    def run_on_device(self, images: Any) -> DeviceOutputs:
        """The same without leaving the device: neither images nor outputs are copied to the host.

        Args:
            images: [N,H,W,B] of the kind in the card, contiguous, where the model runs (for the processor: in its
                memory); of any library whose arrays have `__dlpack__` or `__cuda_array_interface__`.

        Returns:
            As `run`, in new memory, and ready to be read.

        Raises:
            SegtoolError: not such an array, or it cannot be run.
        """
        ...


def check_batch(
    dtype: str, shape: tuple[int, ...], size: tuple[int | None, int | None], contract: InputContract
) -> None:
    """Whether a model takes a batch.

    Raises:
        SegtoolError: not [N,H,W,B] of the contract's kind, or not of the model's fixed size.
    """
    if dtype != contract.kind or len(shape) != 4 or shape[3] != contract.channels or 0 in shape:
        wanted = f"{contract.kind} [N,H,W,{contract.channels}]"
        raise SegtoolError(f"images must be {wanted}", where=f"{dtype} {list(shape)}")
    check_size(shape[1:3], size)


def check_size(shape: tuple[int, ...], size: tuple[int | None, int | None]) -> None:
    """Whether a model takes images of a height and width.

    Raises:
        SegtoolError: it was exported for another.
    """
    tile = "x".join(str(want or have) for have, want in zip(shape, size, strict=True))
    for have, want, side in zip(shape, size, ("height", "width"), strict=True):
        if want is not None and have != want:
            raise SegtoolError(
                f"the model was exported for {side} {want}",
                where=f"image of {have}",
                mend=f"resize the image, or use tiles: --tile {tile}",
            )
