"""Reading large images in windows, with the place on earth that they have."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.errors import SegtoolError
from segtool.files import refuse_pipe
from segtool.gaps import missing_in
from segtool.gdal import driver_of, gdal, not_read, rasterio_api, window_of
from segtool.input_contract import InputContract
from segtool.rasters import head_of, kind_of, turn_of
from segtool.readers import Image, of_another_kind

PICTURES = InputContract()


class Map:
    """An image that is read in windows; see `segtool.runtime.maps.Source`. Open it with `opened`.

    Attributes:
        height, width: in pixels.
        place: where on earth it lies: `crs` and `transform`, or `gcps`, as far as the file says.
    """

    def __init__(self, dataset: Any, bands: Sequence[int], path: Path, contract: InputContract) -> None:
        self._dataset, self._bands, self._path, self._contract = dataset, list(bands), path, contract
        self.height, self.width = dataset.height, dataset.width
        self.place = _place(dataset)

    def read(self, rows: slice, columns: slice) -> Image:
        """A window of the chosen bands as the model takes it, [h,w,B].

        Raises:
            SegtoolError: it cannot be read.
        """
        image = self._numbers(rows, columns)
        return image if self._contract.bands is None else self._as_taken(image, rows, columns)

    def _numbers(self, rows: slice, columns: slice) -> Image:
        """As they are in the file."""
        if self._dataset.driver == "PNG" and rows == slice(0, self.height) and self.height > 1:
            # Read at once, a cut PNG gives whatever was in memory, and no error.
            half = self.height // 2
            halves = slice(0, half), slice(half, self.height)
            return np.concatenate([self._numbers(half, columns) for half in halves])
        found = self._read(lambda window: self._dataset.read(self._bands, window=window), rows, columns)
        return np.ascontiguousarray(found.transpose(1, 2, 0))

    def _as_taken(self, image: Image, rows: slice, columns: slice) -> Image:
        """With the model's kind of numbers, and its own way to say where there are no data."""
        image, gaps = self._with_gaps(image, rows, columns)
        if gaps is not None and self._contract.nodata is not None:
            image[gaps] = self._contract.nodata
        return image

    def _with_gaps(self, image: Image, rows: slice, columns: slice) -> tuple[Image, NDArray[np.bool_] | None]:
        image = image.astype(np.float32) if self._contract.kind == "float32" else image
        found = missing_in(self._dataset, (rows, columns), image, self._bands, self._path)
        if self._contract.nodata is not None:  # whatever the file itself says
            untold = (image == self._contract.nodata).all(2)
            found = untold if found is None else found | untold
        return image, found

    def missing(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Where a window has no data: the file's nodata value, mask or transparency says so."""
        if self._contract.bands is not None:
            image, gaps = self._with_gaps(self._numbers(rows, columns), rows, columns)
            return np.zeros(image.shape[:2], np.bool_) if gaps is None else gaps
        valid = self._read(lambda window: self._dataset.dataset_mask(window=window), rows, columns)
        return valid == 0

    def _read(self, read: Any, rows: slice, columns: slice) -> Any:
        rasterio = rasterio_api()
        window = window_of(rows, columns)
        try:
            return read(window)
        except rasterio.errors.RasterioError as error:
            where = f"{self._path}, rows {rows.start}..{rows.stop}, columns {columns.start}..{columns.stop}"
            raise SegtoolError("a part of the image cannot be read", where=where, mend="replace the file") from error


@contextmanager
def opened(path: Path, bands: Sequence[int] | None = None, contract: InputContract = PICTURES) -> Iterator[Map]:
    """An image file as a map.

    Args:
        bands: those that are the model's channels, counted from 1; by default for pictures the first three, or the only
            one, and otherwise those that the contract names.
        contract: what the model takes.

    Raises:
        SegtoolError: rasterio is missing; no image that it reads; for pictures not 8 bits of grey or colour, otherwise
            other numbers than the model takes; turned by EXIF; several pages; no such bands.
    """
    refuse_pipe(path)
    with gdal() as rasterio:
        try:
            dataset = rasterio.open(path.resolve(), driver=driver_of(head_of(path), path))
        except rasterio.errors.RasterioError as error:
            raise not_read(path) from error
        with dataset:
            if contract.bands is None:
                _check_levels(dataset, path)
            else:
                _check_numbers(dataset, contract, path)
            if turn_of(path) != 1:
                raise SegtoolError("an image that EXIF turns", where=path, mend="turn it, or predict without --map")
            yield Map(dataset, _bands(dataset, bands, contract, path), path, contract)


def _place(dataset: Any) -> dict[str, Any]:
    points, system = dataset.gcps
    if points:
        return {"gcps": points, "crs": system}
    place = {} if dataset.transform.is_identity else {"transform": dataset.transform}
    return place | ({"crs": dataset.crs} if dataset.crs else {})


def _check_levels(dataset: Any, path: Path) -> None:
    """Refuses files whose numbers are no levels of grey or colour, 0 black and 255 white."""
    structure = dataset.tags(ns="IMAGE_STRUCTURE") | dataset.tags(1, ns="IMAGE_STRUCTURE")
    kinds = ", ".join(sorted(set(dataset.dtypes)))
    mend = "save it as 8 bits of grey or RGB"
    if kinds != "uint8" or structure.get("NBITS", "8") != "8":
        bits = f", {structure['NBITS']} bits" if "NBITS" in structure else ""
        raise SegtoolError(f"an image of {kinds}{bits}, and the model takes pictures", where=path, mend=mend)
    if dataset.colorinterp[0].name == "palette" or structure.get("MINISWHITE") == "YES":
        raise SegtoolError("an image with a palette, or of which 0 is white", where=path, mend=mend)
    lab = dataset.photometric is not None and "LAB" in dataset.photometric.name.upper()
    if lab or structure.get("SOURCE_COLOR_SPACE") == "CIELAB":
        raise SegtoolError("an image of CIE L*a*b*", where=path, mend=mend)


def _check_numbers(dataset: Any, contract: InputContract, path: Path) -> None:
    """Refuses files whose numbers are not those of a model for bands."""
    if dataset.subdatasets:
        mend = "save the bands in one page, or predict without --map"
        raise SegtoolError(f"a file of {len(dataset.subdatasets)} pages", where=path, mend=mend)
    if (kind := kind_of(dataset.dtypes[0])) is None or str(kind) != contract.kind:
        raise of_another_kind(dataset.dtypes[0], contract, path)


def _bands(dataset: Any, wanted: Sequence[int] | None, contract: InputContract, path: Path) -> Sequence[int]:
    if wanted is None and contract.bands is None:
        return (1, 2, 3) if dataset.count >= 3 else (1, 1, 1)
    bands = wanted or contract.bands or ()
    if len(bands) != contract.channels or not all(1 <= band <= dataset.count for band in bands):
        mend = f"the file has the bands 1..{dataset.count}; the model takes {contract.channels} of them"
        raise SegtoolError(f"bands {', '.join(map(str, bands))}", where=path, mend=mend)
    return bands
