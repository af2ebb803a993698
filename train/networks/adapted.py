"""Other libraries' networks behind the one contract: [N,3,H,W] to logits [N,C,H,W]."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segtool.errors import SegtoolError

ENCODERS = ("encoder", "backbone")  # what libraries call the part with ImageNet weights
HEADS = ("segmentation_head", "classifier", "decode_head")  # and the part that gives the logits
_TINY = 1e-6


class Adapted(nn.Module):
    """Reads the logits out of what a network gives, and brings them to the image's size.

    Args:
        body: gives a tensor [N,C,h,w]; or a mapping with one as "out" or "logits"; or mask queries, see `query_logits`.
        input_size: height, width to which images are resized before, for a network that takes no other.
    """

    def __init__(self, body: nn.Module, input_size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.body, self.input_size = body, input_size

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        if self.input_size is not None:
            x = F.interpolate(x, self.input_size, mode="bilinear", align_corners=False)
        logits = read_logits(self.body(x))
        return F.interpolate(logits, size, mode="bilinear", align_corners=False)


def body_of(network: nn.Module) -> nn.Module:
    """The network that an adapter wraps, or the network itself."""
    return network.body if isinstance(network, Adapted) else network


def part_of(network: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    """The first of the named parts that a network has, also inside an adapter; None if it has none."""
    found = (getattr(body_of(network), name, None) for name in names)
    return next((part for part in found if isinstance(part, nn.Module)), None)


def read_logits(output: Any) -> Tensor:
    """The logits [N,C,h,w] in the output of a network.

    Raises:
        SegtoolError: there are none.
    """
    if isinstance(output, Mapping):
        if "masks_queries_logits" in output:
            return query_logits(output["class_queries_logits"], output["masks_queries_logits"])
        output = next((output[key] for key in ("out", "logits") if key in output), output)
    if not isinstance(output, Tensor) or output.ndim != 4:
        raise SegtoolError(
            f"the network gives {_describe(output)}",
            where="model.source",
            mend='it must give logits [N,C,h,w], or a dict with them as "out" or "logits"',
        )
    return output


def query_logits(classes: Tensor, masks: Tensor) -> Tensor:
    """Logits of mask queries: log of sum_q p_q(c) m_q(x), Cheng et al., "Per-Pixel Classification is Not All You Need
    for Semantic Segmentation" (2021), section 3.4.

    Args:
        classes: [N,Q,C+1]; the last is "no object".
        masks: [N,Q,h,w].
    """
    scores = torch.einsum("nqc,nqhw->nchw", classes.float().softmax(-1)[..., :-1], masks.float().sigmoid())
    return scores.clamp_min(_TINY).log()


def _describe(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor {list(output.shape)}"
    return f"a dict with {', '.join(map(str, output))}" if isinstance(output, Mapping) else type(output).__name__
