"""How image files become what a model, or a dataset, takes: one object that everything that reads is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from segtool import bands
from segtool.errors import SegtoolError
from segtool.images import RGB, check_image, decode_image, opened_image, read_image, upright_size
from segtool.input_contract import InputContract
from segtool.raster_parts import levels_in_part, parted_size, picture_size
from segtool.rasters import SENT, Part, Raster, check_raster, raster_about, read_raster

Image = NDArray[Any]
Missing = NDArray[np.bool_] | None


class Read(Protocol):
    """An image that was read: `values` [H,W,B], and where it has no data, `missing` [H,W] or None."""

    @property
    def values(self) -> Image: ...

    @property
    def missing(self) -> Missing: ...


class Parted(NamedTuple):
    """A file of which parts can be decoded.

    Attributes:
        height, width: of the image.
        shrinks: whether it can be decoded at a fraction of its size.
    """

    height: int
    width: int
    shrinks: bool = False


class Reader(Protocol):
    """Reads image files of one kind.

    Attributes:
        pictures: whether what it gives are pictures, uint8 [H,W,3] RGB.
    """

    @property
    def pictures(self) -> bool: ...

    def open(self, path: Path, most: int | None = None) -> Read:
        """An image, and where it has no data; of more than `most` pixels it is refused before it is decoded.

        Raises:
            SegtoolError: it cannot be read, or is not of the kind.
        """
        ...

    def decode(self, data: bytes, most: int | None = None) -> Read:
        """The same of a file's bytes."""
        ...

    def parted(self, path: Path) -> Parted | None:
        """A file of which `open_part` decodes less than all; None for others."""
        ...

    def open_part(self, path: Path, part: Part, shrink: int = 1) -> Read:
        """Rows and columns of an image; as `segtool.data.base.SegmentationDataset.load_part`."""
        ...

    def check(self, data: bytes, most: int) -> None:
        """Whether the bytes begin as an image of at most `most` pixels does; nothing is decoded.

        Raises:
            NotAnImage, TooManyPixels: they do not.
        """
        ...

    def picture(self, image: Image) -> RGB:
        """An image as it is shown."""
        ...

    def pixels(self, path: Path) -> int:
        """How many an image has; nothing is decoded."""
        ...


@dataclass(frozen=True)
class Picture:
    """A picture: there are data everywhere."""

    values: RGB
    missing: Missing = None


@dataclass(frozen=True)
class PictureReader:
    """Pictures of any format as RGB, see `segtool.images.read_image`."""

    pictures: bool = True

    def open(self, path: Path, most: int | None = None) -> Picture:
        """See `Reader`."""
        return Picture(read_image(path, most))

    def parted(self, path: Path) -> Parted | None:
        """See `Reader`."""
        if (size := _jpeg_size(path)) is not None:
            return Parted(*size, shrinks=True)
        return None if (size := picture_size(path)) is None else Parted(*size)

    def open_part(self, path: Path, part: Part, shrink: int = 1) -> Picture:
        """See `Reader`. Only of a JPEG it may be smaller."""
        size = _jpeg_size(path)
        if size is None and (found := levels_in_part(path, part)) is not None:
            return Picture(found)
        image = read_image(path, shrink=shrink)
        if size is None or image.shape[:2] == size:
            return Picture(image[part])
        if image.shape[:2] != tuple(-(-side // shrink) for side in size):  # decoded at another fraction
            return Picture(read_image(path)[part])
        rows, columns = (slice(side.start // shrink, -(-side.stop // shrink)) for side in part)
        return Picture(image[rows, columns])

    def decode(self, data: bytes, most: int | None = None) -> Picture:
        """See `Reader`."""
        return Picture(decode_image(data, most))

    def check(self, data: bytes, most: int) -> None:
        """See `Reader`."""
        check_image(data, most)

    def picture(self, image: Image) -> RGB:
        """See `Reader`."""
        return image

    def pixels(self, path: Path) -> int:
        """See `Reader`."""
        with opened_image(path) as image:
            return image.width * image.height


@dataclass(frozen=True)
class BandReader:
    """Bands of files as they are, see `segtool.rasters.read_raster`.

    Args:
        bands: counted from 1; all when not given.
        contract: of a model, which says the rest: images are what it takes then.
    """

    bands: tuple[int, ...] = ()
    contract: InputContract | None = None
    pictures: bool = False

    def open(self, path: Path, most: int | None = None) -> Raster:
        """See `Reader`."""
        return self._taken(read_raster(path, self.bands, most), path)

    def parted(self, path: Path) -> Parted | None:
        """See `Reader`."""
        return None if (size := parted_size(path)) is None else Parted(*size)

    def open_part(self, path: Path, part: Part, shrink: int = 1) -> Raster:
        """See `Reader`; never smaller: numbers that a camera gave are not averaged."""
        return self._taken(read_raster(path, self.bands, part=part), path)

    def decode(self, data: bytes, most: int | None = None) -> Raster:
        """See `Reader`."""
        return self._taken(read_raster(data, self.bands, most), SENT)

    def check(self, data: bytes, most: int) -> None:
        """See `Reader`."""
        check_raster(data, most)

    def picture(self, image: Image) -> RGB:
        """See `Reader`; where no contract says how, stretched by the image's own percentiles."""
        return bands.own_picture(image) if self.contract is None else bands.picture(image, self.contract)

    def pixels(self, path: Path) -> int:
        """See `Reader`."""
        about = raster_about(path)
        return about.height * about.width

    def _taken(self, raster: Raster, where: object) -> Raster:
        return raster if self.contract is None else _conforming(raster, self.contract, where)


PICTURES = PictureReader()


def reader_of(contract: InputContract) -> Reader:
    """What reads files for a model."""
    return PICTURES if contract.bands is None else BandReader(contract.bands, contract)


def reader_of_bands(wanted: Sequence[int] | str | None) -> Reader:
    """What `bands:` of a classes.yaml or `data.bands` says: all, numbers of bands, or None for pictures."""
    return PICTURES if wanted is None else BandReader(() if isinstance(wanted, str) else tuple(wanted))


def _jpeg_size(path: Path) -> tuple[int, int] | None:
    with opened_image(path) as image:
        return upright_size(image) if image.format == "JPEG" else None


def check_conforms(values: Image, contract: InputContract, where: object) -> None:
    """Refuses images that a model does not take.

    Raises:
        SegtoolError: of another kind, or of another number of channels.
    """
    if values.ndim != 3 or values.shape[2] != contract.channels or 0 in values.shape:
        raise SegtoolError(f"an image must be {contract.said}", where=f"{values.dtype} {list(values.shape)}")
    if str(values.dtype) != contract.kind:
        raise of_another_kind(values.dtype, contract, where)


def of_another_kind(kind: object, contract: InputContract, where: object) -> SegtoolError:
    """The error that says that a model for bands does not take such numbers."""
    mend = f"the model was trained on {contract.kind}: give files of that kind, on the same scale"
    return SegtoolError(f"an image of {kind}", where=where, mend=mend)


def _conforming(raster: Raster, contract: InputContract, where: object) -> Raster:
    check_conforms(raster.values, contract, where)
    if contract.nodata is None:
        return raster
    if raster.missing is not None:
        raster.values[raster.missing] = contract.nodata
    return raster._replace(missing=bands.missing(raster.values, contract))  # whatever the file itself says
