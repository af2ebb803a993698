"""Datasets: the contract, the registry, and `open_dataset`."""

from segtool.data import annotations, layouts
from segtool.data.base import Sample, SegmentationDataset, even_choice
from segtool.data.class_list import named_classes
from segtool.data.registry import absolute_spec, dataset_names, open_dataset, register_dataset

__all__ = [
    "Sample",
    "SegmentationDataset",
    "absolute_spec",
    "dataset_names",
    "even_choice",
    "named_classes",
    "open_dataset",
    "register_dataset",
]
_ = annotations, layouts  # imported so that their datasets register themselves
