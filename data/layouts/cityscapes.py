"""Cityscapes (Cordts et al. 2016): fine annotations, `labelIds` mapped to the 19 training classes."""

from pathlib import Path

import numpy as np

from segtool.data.base import SegmentationDataset
from segtool.data.pairs import PairsDataset, complete_pairs, named_classes, require_folder
from segtool.data.reduced import Reduced
from segtool.data.registry import register_dataset
from segtool.errors import SegtoolError

# Label id, colour; the order is that of the training ids.
_CLASSES: dict[str, tuple[int, tuple[int, int, int]]] = {
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
_IMAGE, _MASK = "_leftImg8bit.png", "_gtFine_labelIds.png"


@register_dataset("cityscapes")
def open_cityscapes(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `cityscapes:PATH`: PATH/leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and PATH/gtFine/SPLIT/CITY/*_labelIds.png.

    All other label ids are void.
    """
    images = require_folder(root, "cityscapes", "leftImg8bit", split)
    masks = require_folder(root, "cityscapes", "gtFine", split)
    found = sorted(images.glob(f"*/*{_IMAGE}"))
    names = [f"{path.parent.name}/{path.name.removesuffix(_IMAGE)}" for path in found]
    wanted = ((n, path, masks / f"{n}{_MASK}") for n, path in zip(names, found, strict=True))
    pairs, problems = complete_pairs(wanted)
    if problems and not pairs and next(masks.glob("*/*_gtFine_labelTrainIds.png"), None):
        mend = f"labelTrainIds are made from them: add the *{_MASK} of the download"
        problems.insert(0, SegtoolError("there are labelTrainIds but no labelIds", where=masks, mend=mend))
    mapping = np.full(256, 255, np.uint8)
    mapping[[label for label, _ in _CLASSES.values()]] = np.arange(len(_CLASSES))
    classes = named_classes([*_CLASSES], [color for _, color in _CLASSES.values()])
    return PairsDataset("cityscapes", split, classes, pairs, problems, mapping=mapping)


@register_dataset("cityscapes-half")
def open_half(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `cityscapes-half:PATH`: the same at half the resolution, 1024x512."""
    return Reduced(open_cityscapes(root, split), "cityscapes-half", 2)
