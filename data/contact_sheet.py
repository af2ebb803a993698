"""A contact sheet: images above their labels."""

import numpy as np

from segtool.data.base import SegmentationDataset, even_choice
from segtool.drawing import overlay, scaled_to_width
from segtool.images import RGB


def contact_sheet(dataset: SegmentationDataset, count: int, columns: int = 4, width: int = 320) -> RGB:
    """An even choice of images, each above its labels, in a grid: uint8 [H,W,3]."""
    colors = [c.color for c in dataset.classes]
    tiles = []
    for index in even_choice(len(dataset), count):
        sample = dataset.load(index)
        picture = dataset.reader.picture(sample.image)
        labelled = overlay(picture, sample.labels, colors, 0.65)
        tiles.append(scaled_to_width(np.concatenate([picture, labelled]), width))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    sheet = np.full((sum(_tallest(row) for row in rows), columns * width, 3), 255, np.uint8)
    top = 0
    for row in rows:
        for column, tile in enumerate(row):
            sheet[top : top + len(tile), column * width : (column + 1) * width] = tile
        top += _tallest(row)
    return sheet


def _tallest(tiles: list[RGB]) -> int:
    return max(len(tile) for tile in tiles)
