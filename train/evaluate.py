"""Scores of a model on a split, before and after the CRF, streamed image by image."""

from collections.abc import Callable

import torch

from segtool.card import ValidationScores
from segtool.prediction import Prediction
from segtool.train.data import SegmentationDataset
from segtool.train.metrics import Scorer
from segtool.train.models import Segmenter
from segtool.train.predict import TorchPredictor

Predictor = Callable[..., Prediction]  # uint8 [H,W,3] -> Prediction


def evaluate(
    predictor: Predictor,
    dataset: SegmentationDataset,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Scorer, Scorer | None]:
    """Scores any predictor on every image of a split.

    Returns:
        Scorers before and after the CRF; the second is None for a model without one.
    """
    before, after = Scorer(len(dataset.classes)), Scorer(len(dataset.classes))
    has_crf = False
    for index in range(len(dataset)):
        sample = dataset.load(index)
        prediction = predictor(sample.image)
        truth = torch.from_numpy(sample.labels)
        labels = torch.from_numpy(prediction.labels)
        if prediction.unary_labels is None:
            before.update(labels, truth)
        else:
            has_crf = True
            before.update(torch.from_numpy(prediction.unary_labels), truth)
            after.update(labels, truth)
        progress(index + 1, len(dataset))
    return before, after if has_crf else None


def validation_scores(before: Scorer, after: Scorer | None) -> ValidationScores:
    """The card's form of the scores."""
    return ValidationScores(
        before_crf=before.compute(), after_crf=after.compute() if after else None, images=before.images
    )


def evaluate_segmenter(segmenter: Segmenter, dataset: SegmentationDataset) -> ValidationScores:
    """`evaluate` for a segmenter in memory."""
    return validation_scores(*evaluate(TorchPredictor(segmenter), dataset))
