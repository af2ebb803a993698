"""Datasets as their makers distribute them. Importing this registers them."""

from segtool.data.layouts import ade20k, camvid, cityscapes, folder, synthetic, voc

__all__ = ["ade20k", "camvid", "cityscapes", "folder", "synthetic", "voc"]
