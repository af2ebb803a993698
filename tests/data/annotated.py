"""One image and a square on it, for tests of annotation files."""

import numpy as np
from PIL import Image

from segtool.data import open_dataset
from segtool.data.checks.findings import grouped
from segtool.data.checks.inspection import Inspection
from segtool.errors import SegtoolError

H, W = 20, 30
SQUARE = [5, 4, 15, 4, 15, 14, 5, 14]


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)).save(path)


def square(left=5, top=4, right=15, bottom=14):
    found = np.zeros((H, W), bool)
    found[top:bottom, left:right] = True
    return found


def labels(spec, split="all"):
    return open_dataset(spec, split).load(0).labels


def said(spec, split="all"):
    """All problems and doubts, a line a kind."""
    try:
        dataset = open_dataset(spec, split, complete=False)
    except SegtoolError as error:
        return [str(error)]
    found = Inspection(dataset, training=False)
    lines = [str(group) for group in (*grouped(found.problems), *grouped(found.doubts))]
    assert not any("\n" in line for line in lines)
    return [line for line in lines if "a class without one" not in line]
