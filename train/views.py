"""How a network sees an image: whole or in windows, as it is or also scaled and mirrored.

Whatever is seen, the class probabilities of all views are averaged at each pixel, and their logarithm takes the place
of the logits: the CRF comes once, on that.
"""

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from segtool.train.config.views import Views
from segtool.windows import spans, weights

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
    """Probabilities of an image, window by window, blended as `segtool.windows.weights` says; maps are, too."""
    height, width = image.shape[2:]
    if views.window == 0 or max(height, width) <= views.window:
        return network(image).softmax(1)
    rows, columns = (spans(side, views.window, views.window - views.stride) for side in (height, width))
    sums, total = torch.zeros(()), torch.zeros(())
    for row, down in zip(rows, weights(rows), strict=True):
        for column, across in zip(columns, weights(columns), strict=True):
            place = slice(row.start, row.stop), slice(column.start, column.stop)
            probabilities = network(image[:, :, *place]).softmax(1)
            if sums.ndim == 0:
                sums = probabilities.new_zeros(*probabilities.shape[:2], height, width)
                total = probabilities.new_zeros(height, width)
            weight = torch.from_numpy(down[:, None] * across).to(sums)
            sums[:, :, *place] += weight * probabilities
            total[place] += weight
    return sums / total
