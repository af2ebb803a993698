"""A folder whose classes.yaml says what its classes are, where its files lie, and what its masks hold."""

from pathlib import Path

from segtool.data.base import SegmentationDataset
from segtool.data.described import open_described
from segtool.data.description import FILE, read_description
from segtool.data.pairs import require_folder
from segtool.data.registry import register_dataset
from segtool.errors import SegtoolError


@register_dataset("folder")
def open_folder(root: Path | None, split: str) -> SegmentationDataset:
    """Opens `folder:PATH`, described by PATH/classes.yaml; or `folder:FILE.yaml`, a description of any name."""
    written = root is not None and root.suffix.lower() in (".yaml", ".yml")
    path = root if root is not None and written else require_folder(root, "folder") / FILE
    if not path.is_file() and path.name == FILE:
        raise SegtoolError("no such file", where=path, mend=_advice(path.parent))
    dataset = open_described(read_description(path), "folder", split)
    dataset.described_by = path
    return dataset


def _advice(folder: Path) -> str:
    """What to do about a folder without a description, going by what it holds."""
    from segtool.data.guess import guess  # rarely needed, and much to load

    try:
        found = guess(folder)
    except SegtoolError as error:
        return f"write it, see docs/data.md: {error}"
    if found.text:
        return f"segtool data init {folder} writes it: {found.words}"
    return f"it holds {found.words}: {found.spec}"
