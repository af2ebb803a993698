"""A dataset that several tests spoil in their own way."""

import numpy as np
import pytest

from .layouts import write_mask
from .samples import IMAGE, LABELS, image


@pytest.fixture
def folder(tmp_path):
    """Four different images for each split, half ground and half thing."""
    (tmp_path / "classes.yaml").write_text("classes: [ground, thing]\n")
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for i in range(4):
            image(tmp_path, random.integers(0, 256, IMAGE.shape, np.uint8), split, str(i))
            write_mask(tmp_path / split / "masks" / f"{i}.png", LABELS)
    return tmp_path
