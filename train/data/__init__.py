"""Datasets: the contract, the registry, and `open_dataset`."""

from segtool.train.data import ade20k, camvid, cityscapes, folder, synthetic, voc
from segtool.train.data.base import Sample, SegmentationDataset, even_choice
from segtool.train.data.registry import absolute_spec, dataset_names, open_dataset, register_dataset

__all__ = [
    "Sample",
    "SegmentationDataset",
    "absolute_spec",
    "dataset_names",
    "even_choice",
    "open_dataset",
    "register_dataset",
]
_ = (ade20k, camvid, cityscapes, folder, synthetic, voc)  # imported so that they register themselves
