"""A registered dataset is checked as any other."""

import numpy as np
import pytest
from click.testing import CliRunner

from segtool.cli.data import command
from segtool.data import Sample, SegmentationDataset, named_classes, open_dataset, register_dataset
from segtool.data.reduced import Reduced
from segtool.data.registry import _OPENERS
from segtool.errors import SegtoolError
from segtool.train.cache import CachedDataset

from .samples import IMAGE, LABELS


@pytest.fixture
def registered():
    """A function that registers a dataset of one sample, and opens it."""

    def make(sample):
        @register_dataset("mine")
        class Mine(SegmentationDataset):
            def __init__(self, root, split):
                self.name, self.split, self.classes = "mine", split, named_classes(["a", "b"])

            def __len__(self):
                return 1

            def identifier(self, index):
                return "first"

            def load(self, index):
                return sample() if callable(sample) else sample

        return open_dataset("mine", "train")

    yield make
    _OPENERS.pop("mine", None)


def signed(value):
    labels = LABELS.astype(np.int64)
    labels[0, 0] = value
    return labels


BAD_SAMPLES = [
    (Sample(IMAGE, np.where(LABELS, 2, 0).astype(np.uint8)), r"label 2 in a mask; classes are 0\.\.1, void is 255"),
    (Sample(IMAGE, signed(-1)), r"labels of int64 with values -1\.\.1: first .it must be uint8"),
    (Sample(IMAGE, signed(256)), r"labels of int64 with values 0\.\.256"),
    (Sample(IMAGE[..., 0], LABELS), r"image of shape \[8, 12\]: first .*np\.repeat"),
    (Sample(np.concatenate([IMAGE, IMAGE[..., :1]], 2), LABELS), r"image of shape \[8, 12, 4\]"),
    (Sample(IMAGE.transpose(2, 0, 1), LABELS), r"image of shape \[3, 8, 12\].*transpose\(1, 2, 0\)"),
    (Sample((IMAGE / 255).astype(np.float32), LABELS), r"image of float32 with values 0\.\.1.*levels 0\.\.255"),
    (Sample(IMAGE, LABELS[:-2]), "mask of 6x12 for an image of 8x12"),
    (Sample(IMAGE, LABELS.T), "mask of 12x8 for an image of 8x12.*EXIF"),
    (Sample(IMAGE, LABELS[..., None]), r"labels of shape \[8, 12, 1\]"),
    (Sample(IMAGE.tolist(), LABELS), "image: list"),
    (IMAGE, r"load\(\) gave ndarray"),
    (lambda: {}["path"], r"load\(\) of dataset mine failed with KeyError: 'path'"),
]


@pytest.mark.parametrize(("sample", "message"), BAD_SAMPLES)
def test_samples_of_a_registered_dataset_are_checked(registered, sample, message):
    dataset = registered(sample)
    for read in (dataset.load, Reduced(dataset, "half", 2).load, lambda index: CachedDataset(dataset)):
        with pytest.raises(SegtoolError, match=message):
            read(0)
    result = CliRunner().invoke(command, ["check", "mine", "--split", "train"])
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, "1 problem")


def test_a_plain_pair_and_a_view_are_taken_as_they_are_meant(registered):
    """OpenCV's order of channels turned round is a view that torch cannot read."""
    import torch

    sample = registered((IMAGE[..., ::-1], LABELS)).load(0)
    assert np.array_equal(torch.from_numpy(sample.image), IMAGE[..., ::-1])
    assert sample.labels is LABELS


@pytest.mark.parametrize(
    ("opener", "message"),
    [
        (lambda root, split: [1, 2], "dataset mine has no name: list"),
        (lambda root, split: {}[split], "dataset mine cannot be opened, KeyError: 'train'"),
    ],
)
def test_an_opener_that_fails(opener, message):
    register_dataset("mine")(opener)
    try:
        with pytest.raises(SegtoolError, match=message):
            open_dataset("mine", "train")
    finally:
        _OPENERS.pop("mine")
