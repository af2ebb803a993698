"""How a network sees an image: whole or in windows, as it is or also scaled and mirrored.

Whatever is seen, the class probabilities of all views are averaged at each pixel, and their logarithm takes the place
of the logits: the CRF comes once, on that.
"""

import itertools
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from segtool.train.config.views import Views

Network = Callable[[Tensor], Tensor]  # [N,3,H,W] to logits [N,C,H,W]


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
