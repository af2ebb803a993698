"""A folder with `train/images`, `train/masks`, `val/images`, `val/masks` and a `classes.yaml`."""

from pathlib import Path

import yaml
from pydantic import ValidationError

from segtool.card import ClassInfo
from segtool.errors import SegtoolError
from segtool.images import list_images, read_image, read_label_map
from segtool.palette import voc_color
from segtool.train.data.base import Sample, SegmentationDataset, check_sample, register_dataset

_EXAMPLE = "write one such as: classes: [background, {name: road, color: [128, 64, 128]}]"


class FolderDataset(SegmentationDataset):
    """Images and masks paired by their file's stem."""

    def __init__(
        self, root: Path | None, split: str, *, name: str, classes: list[ClassInfo], ignore_index: int = 255
    ) -> None:
        root = _require(root, name)
        self.name, self.split, self.classes, self.ignore_index = name, split, classes, ignore_index
        images = list_images(root / split / "images")
        masks = {p.stem: p for p in list_images(root / split / "masks")}
        missing = [p for p in images if p.stem not in masks]
        if missing:
            raise SegtoolError(
                f"{len(missing)} images have no mask",
                where=missing[0],
                mend=f"add {root / split / 'masks' / (missing[0].stem + '.png')}",
            )
        self._pairs = [(p, masks[p.stem]) for p in images]

    def __len__(self) -> int:
        return len(self._pairs)

    def identifier(self, index: int) -> str:
        return self._pairs[index][0].stem

    def load(self, index: int) -> Sample:
        image_path, mask_path = self._pairs[index]
        sample = Sample(read_image(image_path), read_label_map(mask_path))
        return check_sample(sample, len(self.classes), self.ignore_index, mask_path)


@register_dataset("folder")
def open_folder(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `folder:PATH`; PATH/classes.yaml names the classes and, if it is not 255, the ignore_index."""
    root = _require(root, "folder")
    classes, ignore_index = read_classes(root / "classes.yaml")
    return FolderDataset(root, split, name="folder", classes=classes, ignore_index=ignore_index)


def read_classes(path: Path) -> tuple[list[ClassInfo], int]:
    """Reads `classes: [name or {name, color}, ...]` and `ignore_index` (255 when absent)."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SegtoolError("no such file", where=path, mend=_EXAMPLE) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SegtoolError("not valid YAML", where=path, mend=_EXAMPLE) from error
    entries = data.get("classes") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise SegtoolError("no list of classes", where=path, mend=_EXAMPLE)
    classes = []
    for index, entry in enumerate(entries):
        fields = entry if isinstance(entry, dict) else {"name": str(entry)}
        try:
            classes.append(ClassInfo(**{"id": index, "color": voc_color(index), **fields}))
        except (ValidationError, TypeError) as error:
            raise SegtoolError(
                f"class {index} is not a name or a name with a color", where=path, mend=_EXAMPLE
            ) from error
    return classes, int(data.get("ignore_index", 255))


def _require(root: Path | None, name: str) -> Path:
    if root is None:
        raise SegtoolError("a path is needed", where=name, mend=f"--data {name}:PATH")
    if not root.is_dir():
        raise SegtoolError("no such folder", where=root)
    return root
