"""Images that are larger than what a model or the memory takes: in tiles that overlap."""

from collections.abc import Callable, Container
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.errors import SegtoolError
from segtool.prediction import Prediction
from segtool.runtime.inputs import ImageLike, as_image
from segtool.windows import Span, spans


class Tiles(NamedTuple):
    """How an image is cut.

    Attributes:
        height, width: of a tile, pixels.
        overlap: of neighbours, pixels. Half of it is what a pixel at a tile's seam sees beyond the seam: labels are
            those of the whole image if nothing farther away matters to the network (its receptive field) and the CRF.
    """

    height: int
    width: int
    overlap: int


def check_tiles(tiles: Tiles) -> None:
    """Whether tiles can overlap as they should.

    Raises:
        SegtoolError: by more than they are large.
    """
    side = min(tiles.height, tiles.width)
    if not 0 <= tiles.overlap < side:
        raise SegtoolError(
            f"tiles of {side} pixels cannot overlap by {tiles.overlap}",
            where="overlap",
            mend="less than the tile's sides",
        )


def predict_tiled(
    model: Callable[[NDArray[Any]], Prediction],
    image: ImageLike,
    tiles: Tiles,
    only: Container[str] = Prediction._fields,
) -> Prediction:
    """Segments an image tile by tile; every pixel is taken from the one tile that sees most around it.

    Args:
        model: a `segtool.runtime.Model`, or any other function of images [H,W,B].
        image: what the model takes. One that is not larger than a tile is run as it is; where the model
            takes one size alone, it is continued by its mirror image.
        only: parts of the answer besides the labels that are put together where there are several tiles, for each takes
            much memory of a large image. Others are None then, and the confidence NaN.

    Raises:
        SegtoolError: tiles that do not overlap as they should, or are not of the model's fixed size.
    """
    check_tiles(tiles)
    image = model.taken(image) if hasattr(model, "taken") else as_image(image)
    height, width = image.shape[:2]
    whole = _stitched(model, _continued(image, model), tiles, only)
    parts: dict[str, Any] = {
        name: None if part is None else part[..., :height, :width] for name, part in whole._asdict().items()
    }
    return Prediction(**parts)


def _stitched(
    model: Callable[[NDArray[Any]], Prediction], image: NDArray[Any], tiles: Tiles, only: Container[str]
) -> Prediction:
    rows, columns = (spans(side, tile, tiles.overlap) for side, tile in zip(image.shape, tiles[:2], strict=False))
    if len(rows) == len(columns) == 1:
        return model(image)
    whole: dict[str, NDArray] = {}
    for row in rows:
        for column in columns:
            part = model(np.ascontiguousarray(image[row.start : row.stop, column.start : column.stop]))
            for name, values in part._asdict().items():
                if values is not None and (name == "labels" or name in only):
                    if name not in whole:
                        whole[name] = np.empty((*values.shape[:-2], *image.shape[:2]), values.dtype)
                    _paste(whole[name], values, row, column)
    whole.setdefault("confidence", np.broadcast_to(np.float32(np.nan), image.shape[:2]))
    return Prediction(**whole)


def _continued(image: NDArray[Any], model: Any) -> NDArray[Any]:
    """The image, or if it is smaller than a model's fixed size, with its mirror image below and to the right."""
    fixed = model.backend.size if hasattr(model, "backend") else (None, None)
    missing = [max(0, (want or 0) - have) for want, have in zip(fixed, image.shape, strict=False)]
    return np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], "symmetric") if any(missing) else image


def _paste(whole: NDArray, part: NDArray, row: Span, column: Span) -> None:
    inside = (
        ...,
        slice(row.first - row.start, row.last - row.start),
        slice(column.first - column.start, column.last - column.start),
    )
    whole[..., row.first : row.last, column.first : column.last] = part[inside]
