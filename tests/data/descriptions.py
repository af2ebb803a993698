"""Small folders that a classes.yaml describes, for several tests."""

import numpy as np
import pytest
from PIL import Image

from segtool.data import open_dataset
from segtool.errors import SegtoolError

TRUTH = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [255, 2, 2, 1]], np.uint8)
COLORS = {0: (10, 20, 30), 1: (200, 0, 0), 2: (0, 200, 0), 255: (0, 0, 0)}


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path, **options)
    return path


def photo(path, number=0):
    return save(path, np.random.default_rng(number).integers(0, 256, (*TRUTH.shape, 3), np.uint8))


def describe(root, text):
    (root / "classes.yaml").write_text(f"classes: [ground, car, tree]\n{text}\n")
    return f"folder:{root}"


def labels(spec, split="train"):
    return open_dataset(spec, split).load(0).labels


def names(spec, split):
    dataset = open_dataset(spec, split)
    return [dataset.identifier(i) for i in range(len(dataset))]


def refused(spec, match, split="train"):
    with pytest.raises(SegtoolError, match=match) as caught:
        dataset = open_dataset(spec, split)
        for i in range(len(dataset)):
            dataset.load(i)
    assert "\n" not in str(caught.value)
