"""Public datasets as their makers distribute them, each described by a classes.yaml beside this file."""

from pathlib import Path

from segtool.data.base import SegmentationDataset
from segtool.data.described import open_described
from segtool.data.description import read_description
from segtool.data.pairs import PairsDataset, require_folder
from segtool.data.reduced import Reduced
from segtool.data.registry import register_dataset
from segtool.errors import SegtoolError

_HERE = Path(__file__).parent
_VOC = Path("VOCdevkit") / "VOC2012"


def _open(name: str, root: Path, split: str) -> PairsDataset:
    return open_described(read_description(_HERE / f"{name}.yaml", root), name, split)


@register_dataset("camvid")
def open_camvid(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `camvid:PATH`: PATH/{train,val}/{images,masks}, palette masks with 0..10 and 255 = void."""
    return _open("camvid", require_folder(root, "camvid"), split)


@register_dataset("voc")
def open_voc(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `voc:PATH`; PATH holds VOCdevkit/VOC2012, or is it. Masks are palette PNGs, 255 is void."""
    root = require_folder(root, "voc")
    if (root / _VOC).is_dir():
        root = root / _VOC
    listed = require_folder(root, "voc", "ImageSets", "Segmentation") / "train.txt"
    if not listed.is_file():
        raise SegtoolError("no such file", where=listed, mend="segtool data download voc PATH fetches it all")
    return _open("voc", root, split)


@register_dataset("cityscapes")
def open_cityscapes(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `cityscapes:PATH`: PATH/leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and PATH/gtFine/SPLIT/CITY/*_labelIds.png.

    All label ids but those of the 19 training classes are void.
    """
    root = require_folder(root, "cityscapes")
    dataset = _open("cityscapes", root, split)
    if dataset.problems and not len(dataset):
        masks = root / "gtFine" / split
        if next(masks.glob("*/*_gtFine_labelTrainIds.png"), None):
            mend = "labelTrainIds are made from them: add the *_gtFine_labelIds.png of the download"
            what = "there are labelTrainIds but no labelIds"
            dataset.problems = [SegtoolError(what, where=masks, mend=mend), *dataset.problems]
    return dataset


@register_dataset("cityscapes-half")
def open_half(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `cityscapes-half:PATH`: the same at half the resolution, 1024x512."""
    return Reduced(open_cityscapes(root, split), "cityscapes-half", 2)


@register_dataset("ade20k")
def open_ade20k(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `ade20k:PATH`: PATH/images/{training,validation} and PATH/annotations/{training,validation}.

    Masks hold 1..150 for the classes 0..149, and 0 for whatever is none of them, which is void.
    """
    return _open("ade20k", require_folder(root, "ade20k"), split)
