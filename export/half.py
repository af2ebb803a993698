"""Mixed precision, decided before the graph is written: network and potentials in float16, all else in float32."""

from typing import Any

from torch import Tensor, nn

from segtool.train.networks import Segmenter


def halve(segmenter: Segmenter) -> None:
    """Puts the network of a segmenter, and the potentials of its contextual CRF, in float16 between casts, so that the
    exported graph is strongly typed.

    The normalisation before it, softmax and CRF after it stay in float32: the kernels are functions of differences of
    levels, and the mean field adds up many small messages.
    """
    # Hooks rather than a module around it: the names of its parts, which become names of nodes, stay.
    segmenter.network.half()
    if segmenter.context is not None:
        potential = segmenter.context.potential
        for layer in potential.children():
            layer.half()
        potential.relation = nn.Parameter(potential.relation.half())
    segmenter.network.register_forward_pre_hook(_to_half)
    segmenter.network.register_forward_hook(_to_single)


def _to_half(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.half() for x in inputs)


def _to_single(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.float()
