"""Datasets: the contract, the registry, and `open_dataset`."""

from segtool.train.data import camvid, folder, synthetic
from segtool.train.data.base import Sample, SegmentationDataset, dataset_names, open_dataset, register_dataset

__all__ = ["Sample", "SegmentationDataset", "dataset_names", "open_dataset", "register_dataset"]
_ = (camvid, folder, synthetic)  # imported so that they register themselves
