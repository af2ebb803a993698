"""The recipes of docs/densecrf.md run, and do what they say."""

import re
from pathlib import Path

import numpy as np
import pytest

from segtool.data import open_dataset

GUIDE = Path(__file__).parents[2] / "docs" / "densecrf.md"


@pytest.fixture(scope="module")
def recipes():
    """What the guide's code defines."""
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        exec(block, names)  # the guide's own code
    return names


@pytest.fixture(scope="module")
def sample():
    return open_dataset("synthetic:96", "val").load(0)


def noisy(labels, classes, seed=0, certainty=2.0):
    """Probabilities that are right more often than not."""
    z = np.random.default_rng(seed).normal(0, 1.5, (classes, *labels.shape))
    np.put_along_axis(z, labels[None].astype(int), np.take_along_axis(z, labels[None].astype(int), 0) + certainty, 0)
    return (np.exp(z) / np.exp(z).sum(0)).astype(np.float32)


def test_it_sharpens(recipes, sample):
    probabilities = noisy(sample.labels, 5)
    before, after = probabilities.argmax(0), recipes["sharpen"](probabilities, sample.image)
    assert (after == sample.labels).mean() > (before == sample.labels).mean() + 0.1


def test_it_cleans(recipes, sample):
    coarse = np.kron(sample.labels[::8, ::8], np.ones((8, 8), np.uint8)) + 1
    coarse[:8] = 0
    cleaned = recipes["clean"](coarse, sample.image, 5)
    assert cleaned.min() >= 1
    assert (cleaned == sample.labels + 1)[8:].mean() > (coarse == sample.labels + 1)[8:].mean() + 0.02


def test_it_sharpens_volumes(recipes):
    labels = np.zeros((8, 24, 24), np.uint8)
    labels[2:6, 6:18, 6:18] = 1
    volume = (labels * 120 + np.random.default_rng(1).normal(0, 8, labels.shape)).astype(np.float32)
    probabilities = noisy(labels, 2, certainty=1.0)
    after = recipes["sharpen_volume"](probabilities, volume)
    assert (after == labels).mean() > max(0.98, (probabilities.argmax(0) == labels).mean())
