"""CamVid with 11 classes (Brostow et al. 2009), as distributed with the SegNet tutorial."""

from pathlib import Path

from segtool.data.base import SegmentationDataset
from segtool.data.pairs import PairsDataset, named_classes, paired_by_stem, require_folder
from segtool.data.registry import register_dataset

_CLASSES: dict[str, tuple[int, int, int]] = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "sidewalk": (0, 0, 192),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}


@register_dataset("camvid")
def open_camvid(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `camvid:PATH`: PATH/{train,val}/{images,masks}, palette masks with 0..10 and 255 = void."""
    folder = require_folder(root, "camvid", split)
    paired = paired_by_stem(folder / "images", folder / "masks")
    return PairsDataset("camvid", split, named_classes([*_CLASSES], [*_CLASSES.values()]), *paired)
