"""How a network sees an image: whole or in windows, as it is or also scaled and mirrored.

Whatever is seen, the class probabilities of all views are averaged at each pixel, and their logarithm takes the place
of the logits: the CRF comes once, on that.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segtool.errors import SegtoolError

Network = Callable[[Tensor], Tensor]  # [N,3,H,W] to logits [N,C,H,W]


class Views(NamedTuple):
    """What of an image is shown to the network.

    Attributes:
        window: side of square windows in pixels; 0 shows the whole image at once.
        stride: from one window to the next, pixels; at most `window`.
        scales: of the image; each is seen, and the logits scaled back.
        flip: whether each is seen mirrored left to right too.
    """

    window: int = 0
    stride: int = 0
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __bool__(self) -> bool:
        """Whether there is more to see than the whole image as it is."""
        return self.window > 0 or self.scales != (1.0,) or self.flip


WHOLE = Views()


def parse_views(slide: int | None, stride: int | None, augment: str | None) -> Views:
    """Reads the options of the command line.

    Args:
        slide, stride: pixels; the stride is two thirds of the window when not given.
        augment: such as `flip,0.75,1.25`; the image itself is always among the views.

    Raises:
        SegtoolError: a stride without a window or beyond it; what is neither flip nor a scale from 0.1 to 4.
    """
    if stride is not None and (slide is None or not 0 < stride <= slide):
        raise SegtoolError("the stride must lie in 1..window", where=f"--stride {stride}", mend="--slide 512 ...")
    window = slide or 0
    parts = [part.strip() for part in (augment or "").split(",") if part.strip()]
    scales = dict.fromkeys([1.0, *(_scale(part) for part in parts if part != "flip")])
    return Views(window, stride or min(window, max(1, window * 2 // 3)), tuple(scales), "flip" in parts)


def _scale(part: str) -> float:
    try:
        scale = float(part)
    except ValueError:
        scale = 0.0
    if not 0.1 <= scale <= 4:
        raise SegtoolError("neither flip nor a scale in 0.1..4", where=f"--tta {part}", mend="--tta flip,0.75,1.25")
    return scale


def view_logits(network: Network, image: Tensor, views: Views) -> Tensor:
    """Logits of all views together.

    Args:
        network: from images of any size, float levels, to logits of the same size.
        image: [N,3,H,W].

    Returns:
        [N,C,H,W]: the network's logits if the whole image is all there is to see, otherwise log of the mean
        probability.
    """
    if not views or (views.scales == (1.0,) and not views.flip and max(image.shape[2:]) <= views.window):
        return network(image)
    seen = [
        _scaled_back(_flipped(network, flip), image, scale, views)
        for scale, flip in itertools.product(views.scales, (False, True) if views.flip else (False,))
    ]
    mean = torch.stack(seen).mean(0) if len(seen) > 1 else seen[0]
    return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()


def _flipped(network: Network, flip: bool) -> Network:
    return (lambda image: network(image.flip(3)).flip(3)) if flip else network


def _scaled_back(network: Network, image: Tensor, scale: float, views: Views) -> Tensor:
    """Probabilities at the image's own size of what is seen at another."""
    if scale == 1:
        return _slide(network, image, views)
    height, width = image.shape[2:]
    size = max(1, round(scale * height)), max(1, round(scale * width))
    smaller = F.interpolate(image, size, mode="bilinear", antialias=scale < 1)
    return F.interpolate(_slide(network, smaller, views), (height, width), mode="bilinear")


def _slide(network: Network, image: Tensor, views: Views) -> Tensor:
    """Probabilities of an image, window by window; where windows overlap, the nearer its middle a pixel is, the more a
    window counts."""
    height, width = image.shape[2:]
    if views.window == 0 or max(height, width) <= views.window:
        return network(image).softmax(1)
    sums, weights = torch.zeros(()), torch.zeros(())
    for rows in _places(height, views):
        for columns in _places(width, views):
            probabilities = network(image[:, :, rows, columns]).softmax(1)
            if sums.ndim == 0:
                sums = probabilities.new_zeros(*probabilities.shape[:2], height, width)
                weights = probabilities.new_zeros(height, width)
            weight = _ramp(probabilities.shape[2], sums)[:, None] * _ramp(probabilities.shape[3], sums)
            sums[:, :, rows, columns] += weight * probabilities
            weights[rows, columns] += weight
    return sums / weights


def _places(side: int, views: Views) -> Iterator[slice]:
    """Windows along one side; the last ends where the image does."""
    for start in range(0, max(side - views.window, 0) + views.stride, views.stride):
        first = max(0, min(start, side - views.window))
        yield slice(first, min(first + views.window, side))
        if first + views.window >= side:
            return


def _ramp(size: int, like: Tensor) -> Tensor:
    """1, 2, ..., 2, 1."""
    up = torch.arange(1, size + 1, dtype=like.dtype, device=like.device)
    return torch.minimum(up, up.flip(0))
