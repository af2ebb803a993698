"""What `segtool predict --map` gives, of images in memory: so that it can be scored."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from segtool.card import ModelCard
from segtool.prediction import Prediction
from segtool.readers import Image, reader_of
from segtool.runtime.maps.job import map_job
from segtool.runtime.maps.segment import segment_map
from segtool.runtime.tiles import Tiles


class _InMemory:
    """An image as a map; see `segtool.runtime.maps.Source`."""

    def __init__(self, image: Image) -> None:
        self.image, (self.height, self.width) = image, image.shape[:2]

    def read(self, rows: slice, columns: slice) -> Image:
        return self.image[rows, columns]


class MapPredictor:
    """Segments images as maps are: the network sees tiles, which are blended before the dense CRF.

    Args:
        model: a `segtool.runtime.Model` that gives logits.
        tiles: what the network sees at a time.

    Raises:
        SegtoolError: a model that gives no logits, or takes one size alone that is not the tiles'.
    """

    def __init__(self, model: Any, card: ModelCard, tiles: Tiles) -> None:
        self.card, self.reader, self._job = card, reader_of(card.input), map_job(model, card, tiles)

    def __call__(self, image: Image) -> Prediction:
        """Labels and confidence, and of a model whose only CRF is a dense one the labels before it."""
        height, width = image.shape[:2]
        labels, before = np.empty((2, height, width), np.uint8)
        confidence = np.empty((height, width), np.float32)
        with TemporaryDirectory(prefix="segtool-") as folder:
            for part in segment_map(self._job.logits, self.card, _InMemory(image), self._job.tiles, Path(folder)):
                place = part.rows, part.columns
                labels[place], before[place], confidence[place] = part.labels, part.before, part.confidence
        network_alone = self.card.crf is not None and self.card.context is None
        return Prediction(labels, confidence, before if network_alone else None)
