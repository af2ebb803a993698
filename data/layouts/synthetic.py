"""Pictures made on the fly: noisy textured shapes and thin lines on a shaded ground.

Deterministic: a split's image i is always the same. The class shows in the colour and texture of its
pixels, both noisy and overlapping between classes; no label is written into the image.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segtool.card import ClassInfo
from segtool.data.base import Sample, SegmentationDataset
from segtool.data.registry import register_dataset
from segtool.errors import SegtoolError
from segtool.palette import voc_color

_NAMES = ("ground", "disk", "block", "wedge", "pole")
# Mean colour of each class; every instance draws its own colour around it.
_COLORS = np.array([[120, 125, 115], [185, 90, 80], [80, 110, 180], [90, 165, 95], [200, 190, 120]], float)
_SIZES = {"train": 160, "val": 40, "test": 40}
_SIDE = 128


@register_dataset("synthetic")
class SyntheticDataset(SegmentationDataset):
    """`synthetic`, or `synthetic:SIDE` for images of another size than 128 pixels."""

    def __init__(self, side: Path | None, split: str) -> None:
        if split not in _SIZES:
            raise SegtoolError("unknown split of synthetic", where=split, mend="train, val or test")
        if side is not None and not (str(side).isdigit() and 32 <= int(str(side)) <= 2048):
            raise SegtoolError("bad image size", where=f"synthetic:{side}", mend="a number of pixels, 32..2048")
        self.name, self.split = "synthetic", split
        self.side = int(str(side)) if side is not None else _SIDE
        self.classes = [ClassInfo(id=i, name=n, color=voc_color(i)) for i, n in enumerate(_NAMES)]

    def __len__(self) -> int:
        return _SIZES[self.split]

    def identifier(self, index: int) -> str:
        return f"{self.split}_{self.side}_{index:04d}"

    def load(self, index: int) -> Sample:
        random = np.random.default_rng([list(_SIZES).index(self.split), self.side, index])
        labels, instances = _draw_shapes(random, self.side)
        return Sample(_paint(random, labels, instances), labels)


def _draw_shapes(random: np.random.Generator, side: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Labels [side,side], and the number of the instance that each pixel belongs to."""
    labels, instances = Image.new("L", (side, side), 0), Image.new("I", (side, side), 0)
    kinds = [*random.integers(1, 4, random.integers(4, 8)), *[4] * random.integers(2, 5)]
    for number, kind in enumerate(kinds, start=1):
        x, y = random.uniform(0.05, 0.95, 2) * side
        radius = random.uniform(0.08, 0.2) * side
        corners = {1: 40, 2: 4, 3: 3, 4: 0}[int(kind)]
        if corners:
            angle = random.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
            outline = [(x + radius * np.cos(a), y + radius * np.sin(a)) for a in angle]
        else:
            lean, length, thickness = random.normal(0, 0.15), 0.5 * side, random.uniform(0.012, 0.025) * side
            top = (x + lean * length, y - length)
            outline = [
                (x - thickness, y),
                (x + thickness, y),
                (top[0] + thickness, top[1]),
                (top[0] - thickness, top[1]),
            ]
        ImageDraw.Draw(labels).polygon(outline, fill=int(kind))
        ImageDraw.Draw(instances).polygon(outline, fill=number)
    return np.array(labels, np.uint8), np.array(instances, np.int32)


def _paint(random: np.random.Generator, labels: NDArray[np.uint8], instances: NDArray[np.int32]) -> NDArray[np.uint8]:
    side = labels.shape[0]
    y, x = np.mgrid[:side, :side]
    shift = random.normal(0, 30, (instances.max() + 1, 3))
    image = _COLORS[labels] + shift[instances]
    # Texture: stripes on disks, a checkerboard on blocks; the other classes are smooth.
    stripes = 14 * np.sign(np.sin((x + y) * 0.9))
    checks = 14 * np.sign(np.sin(x * 0.8) * np.sin(y * 0.8))
    image += ((labels == 1) * stripes + (labels == 2) * checks)[..., None]
    direction = random.uniform(0, 2 * np.pi)
    image += (35 * ((x * np.cos(direction) + y * np.sin(direction)) / side))[..., None]
    image += random.normal(0, 16, image.shape)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)
