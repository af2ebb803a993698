"""Images and masks that several tests of datasets share."""

import numpy as np
from PIL import Image

from .layouts import write_mask

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
LABELS = np.zeros((8, 12), np.uint8)
LABELS[:, 6:] = 1


def image(root, pixels, split="train", name="0", suffix="png", **options):
    path = root / split / "images" / f"{name}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix != "png":
        path.with_suffix(".png").unlink(missing_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def masks(root, labels, split="train", count=4):
    for i in range(count):
        write_mask(root / split / "masks" / f"{i}.png", labels)
