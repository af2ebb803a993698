"""The one check that every sample of every source goes through."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from segtool.data.base import DerivedDataset, Sample, SegmentationDataset
from segtool.errors import SegtoolError
from segtool.input_contract import Kind
from segtool.readers import Parted, Reader

_PICTURE = 16  # values that are no class, beyond which a mask looks like a picture


class Checked(DerivedDataset):
    """The same dataset, each sample checked as it is loaded.

    `load` raises SegtoolError for whatever is not a `Sample` of arrays of one size with labels of the classes,
    and for whatever the dataset's own `load` stumbles over.
    """

    def image_path(self, index: int) -> Path | None:
        return self._dataset.image_path(index)

    def load(self, index: int) -> Sample:
        sample = self._checked(index, self._dataset.load)
        _check_sizes(sample, self.source_of(index))
        return sample

    def parted(self, index: int) -> Parted | None:
        return self._dataset.parted(index)

    def load_part(self, index: int, rows: slice, columns: slice, shrink: int = 1) -> Sample:
        return self._checked(index, lambda index: self._dataset.load_part(index, rows, columns, shrink))

    def _checked(self, index: int, load: Callable[[int], Any]) -> Sample:
        where = self.source_of(index)
        try:
            loaded = load(index)
        except SegtoolError:
            raise
        except Exception as error:  # of code that is the user's
            what = f"load() of dataset {self.name} failed with {type(error).__name__}: {error}"
            raise SegtoolError(what, where=where, mend="mend it; --debug shows the traceback") from error
        sample = _check_arrays(loaded, where)
        _check_image(sample.image, self.reader, where)
        _check_type("labels", sample.labels, ("uint8",), where)
        _check_labels(sample.labels, self, where)
        return sample


def _check_arrays(loaded: Any, where: object) -> Sample:
    if not isinstance(loaded, tuple) or len(loaded) != 2:
        raise SegtoolError(
            f"load() gave {type(loaded).__name__}", where=where, mend="it must give Sample(image, labels)"
        )
    for name, array in zip(("image", "labels"), loaded, strict=True):
        if not isinstance(array, np.ndarray):
            raise SegtoolError(f"{name}: {type(array).__name__}", where=where, mend="it must be a numpy array")
    image, labels = loaded
    if labels.ndim != 2:
        raise SegtoolError(f"labels of shape {list(labels.shape)}", where=where, mend="they must be [H,W]")
    # A view, such as channels in the opposite order, is no input for torch.
    return Sample(np.ascontiguousarray(image), np.ascontiguousarray(labels))


def _check_image(image: NDArray[Any], reader: Reader, where: object) -> None:
    if reader.pictures:
        _check_shape(image, where)
        _check_type("image", image, ("uint8",), where)
        return
    if image.ndim != 3 or 0 in image.shape:
        raise SegtoolError(f"image of shape {list(image.shape)}", where=where, mend="it must be [H,W,B]")
    _check_type("image", image, get_args(Kind), where)


def _check_shape(image: NDArray[Any], where: object) -> None:
    if image.ndim == 3 and image.shape[2] == 3 and image.size:
        return
    mend = "it must be RGB [H,W,3]"
    if image.ndim == 2:
        mend += "; of grey: np.repeat(image[..., None], 3, 2)"
    elif image.ndim == 3 and image.shape[0] in (1, 3, 4):
        mend += "; of channels first: image.transpose(1, 2, 0)"
    raise SegtoolError(f"image of shape {list(image.shape)}", where=where, mend=mend)


def _check_type(name: str, array: NDArray[Any], kinds: Sequence[str], where: object) -> None:
    if str(array.dtype) in kinds:
        return
    span = f" with values {array.min():.4g}..{array.max():.4g}" if array.size and array.dtype.kind in "fiu" else ""
    meaning = "class ids, void the ignore index" if name == "labels" else "levels 0..255"
    mend = f"it must be uint8: {meaning}" if len(kinds) == 1 else f"it must be one of {', '.join(kinds)}"
    raise SegtoolError(f"{name} of {array.dtype}{span}", where=where, mend=mend)


def _check_sizes(sample: Sample, where: object) -> None:
    size, mask_size = sample.image.shape[:2], sample.labels.shape
    if size == mask_size:
        return
    mend = "masks must have their image's size"
    if size == mask_size[::-1]:
        mend += "; one of them is turned, perhaps the image by what its EXIF says"
    raise SegtoolError(
        f"mask of {mask_size[0]}x{mask_size[1]} for an image of {size[0]}x{size[1]}", where=where, mend=mend
    )


def _check_labels(labels: NDArray[np.uint8], dataset: SegmentationDataset, where: object) -> None:
    """Refuses labels that are no class; what is said are the values in the file."""
    classes, stored = len(dataset.classes), dataset.stored_label
    present = np.bincount(labels.ravel(), minlength=256) > 0
    outside = [int(v) for v in np.flatnonzero(present) if v >= classes and v != dataset.ignore_index]
    if not outside:
        return
    known = f"classes are {stored(0)}..{stored(classes - 1)}, void is {stored(dataset.ignore_index)}"
    if len(outside) > _PICTURE:
        what, mend = f"{len(outside)} values in a mask that are no class; {known}", "is it a picture? it must hold ids"
    else:
        what, mend = f"label {stored(outside[0])} in a mask; {known}", "correct the mask, or add the class"
    raise SegtoolError(what, where=where, mend=mend)
