"""Images and widths for the CUDA kernels on the CPU."""

import pytest
import torch

STREAM = 0


def noise(*shape):
    """An image of random levels, the same each time."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).float()


IMAGES = {
    "one pixel": (noise(1, 3, 1, 1), 20.0, 8.0),
    "one row": (noise(1, 3, 1, 40), 20.0, 8.0),
    "flat": (torch.full((1, 3, 24, 37), 200.0), 80.0, 13.0),
    "noise": (noise(1, 3, 25, 31), 20.0, 20.0),
    "narrow: own vertices": (noise(1, 3, 9, 9), 0.05, 0.5),
    "batch": (noise(3, 3, 20, 21), 20.0, 40.0),
}


CASES = pytest.mark.parametrize("case", IMAGES.values(), ids=IMAGES.keys())
