"""PASCAL VOC 2012 segmentation (Everingham et al. 2010), in the layout that torchvision downloads."""

from pathlib import Path

from segtool.data.base import SegmentationDataset
from segtool.data.pairs import PairsDataset, complete_pairs, named_classes, require_folder
from segtool.data.registry import register_dataset
from segtool.errors import SegtoolError

_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_SPLITS = ("train", "val", "trainval")
_INSIDE = Path("VOCdevkit") / "VOC2012"


@register_dataset("voc")
def open_voc(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `voc:PATH`; PATH holds VOCdevkit/VOC2012, or is it. Masks are palette PNGs, 255 is void."""
    root = require_folder(root, "voc")
    if (root / _INSIDE).is_dir():
        root = root / _INSIDE
    if split not in _SPLITS:
        raise SegtoolError("no such split of voc", where=split, mend="one of " + ", ".join(_SPLITS))
    listed = require_folder(root, "voc", "ImageSets", "Segmentation") / f"{split}.txt"
    if not listed.is_file():
        raise SegtoolError("no such file", where=listed, mend="segtool data download voc PATH fetches it all")
    names = [line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
    images, masks = root / "JPEGImages", root / "SegmentationClass"
    pairs, problems = complete_pairs((n, images / f"{n}.jpg", masks / f"{n}.png") for n in names)
    return PairsDataset("voc", split, named_classes(_CLASSES), pairs, problems)
