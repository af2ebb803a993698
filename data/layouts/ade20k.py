"""ADE20K scene parsing, 150 classes (Zhou et al. 2017), as distributed for the SceneParse150 challenge."""

from pathlib import Path

import numpy as np

from segtool.data.base import SegmentationDataset
from segtool.data.pairs import PairsDataset, named_classes, paired_by_stem, require_folder
from segtool.data.registry import register_dataset
from segtool.palette import voc_color

_CLASSES = (
    "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass",
    "cabinet", "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair",
    "car", "water", "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field",
    "armchair", "seat", "fence", "desk", "rock", "wardrobe", "lamp", "bathtub", "railing", "cushion",
    "base", "box", "column", "signboard", "chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace",
    "refrigerator", "grandstand", "path", "stairs", "runway", "case", "pool table", "pillow", "screen door", "stairway",
    "river", "bridge", "bookcase", "blind", "coffee table", "toilet", "flower", "book", "hill", "bench",
    "countertop", "stove", "palm", "kitchen island", "computer", "swivel chair", "boat", "bar", "arcade machine",
    "hovel", "bus", "towel", "light", "truck", "tower", "chandelier", "awning", "streetlight", "booth",
    "television receiver", "airplane",
    "dirt track", "apparel", "pole", "land", "bannister", "escalator", "ottoman", "bottle", "buffet",
    "poster", "stage", "van", "ship", "fountain", "conveyer belt", "canopy", "washer", "plaything", "swimming pool",
    "stool", "barrel", "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven", "ball",
    "food", "step", "tank", "trade name", "microwave", "pot", "animal", "bicycle", "lake", "dishwasher",
    "screen", "blanket", "sculpture", "hood", "sconce", "vase", "traffic light", "tray", "ashcan", "fan",
    "pier", "crt screen", "plate", "monitor", "bulletin board", "shower", "radiator", "glass", "clock", "flag",
)  # fmt: skip
_FOLDERS = {"train": "training", "val": "validation"}


@register_dataset("ade20k")
def open_ade20k(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `ade20k:PATH`: PATH/images/{training,validation} and PATH/annotations/{training,validation}.

    Masks hold 1..150 for the classes 0..149, and 0 for whatever is none of them, which is void.
    """
    folder = _FOLDERS.get(split, split)
    images = require_folder(root, "ade20k", "images", folder)
    paired = paired_by_stem(images, require_folder(root, "ade20k", "annotations", folder))
    mapping = np.arange(256, dtype=np.uint8) - 1  # 0 becomes 255; a value beyond 150 stays one that is no class
    colors = [voc_color(i + 1) for i in range(len(_CLASSES))]
    return PairsDataset("ade20k", split, named_classes(_CLASSES, colors), *paired, mapping=mapping)
