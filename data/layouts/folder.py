"""A folder whose classes.yaml says what its classes are, where its files lie, and what its masks hold."""

from pathlib import Path

from segtool.data.base import SegmentationDataset
from segtool.data.described import open_described
from segtool.data.description import FILE, read_description
from segtool.data.pairs import require_folder
from segtool.data.registry import register_dataset


@register_dataset("folder")
def open_folder(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `folder:PATH`, described by PATH/classes.yaml; or `folder:FILE.yaml`, a description of any name."""
    if root is not None and root.suffix.lower() in (".yaml", ".yml"):
        return open_described(read_description(root), "folder", split)
    return open_described(read_description(require_folder(root, "folder") / FILE), "folder", split)
