"""The scores of a validation, before and after each CRF."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segtool.card import Scores
from segtool.evaluation.boundaries import Labels, Truth
from segtool.evaluation.counts import TOLERANCES, Counts, count_image
from segtool.evaluation.evaluate import card_scores
from segtool.evaluation.scores import set_scores
from segtool.train import distributed


class StageScores(NamedTuple):
    """As in `segtool.card.ValidationScores`."""

    before_crf: Scores
    after_context: Scores | None
    after_crf: Scores | None

    @property
    def final(self) -> Scores:
        """Of the whole model."""
        return self.after_crf or self.before_crf


class Validation:
    """Is reset, fed with one image after the other, and asked for the scores.

    Args:
        classes: C.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._counts: list[Counts] = []  # of the network, and after each CRF
        self._found: StageScores | None = None

    def add(self, labels: Tensor, logits: Sequence[Tensor]) -> None:
        """Counts an image.

        Args:
            labels: [1,H,W].
            logits: of the network, then after each CRF that there is, each [1,C,H,W].
        """
        self._found = None
        truth = Truth(_on_cpu(labels), self.classes, TOLERANCES)
        self._counts = self._counts or [Counts.zeros(self.classes) for _ in logits]
        for counts, found in zip(self._counts, logits, strict=True):
            counts += count_image(_on_cpu(found.argmax(1)), truth)

    def scores(self) -> StageScores:
        """Of the images of all processes.

        The first call after an image adds up what the processes have counted, so all of them have to make it.
        """
        if self._found is None:
            of_processes = [counts for counts in distributed.gathered(self._counts) if counts]
            added = [self._sum(counts) for counts in zip(*of_processes, strict=True)] or [self._sum([])]
            before, *after = (_scores(counts) for counts in added)
            self._found = StageScores(before, after[0] if len(after) == 2 else None, after[-1] if after else None)
        return self._found

    def _sum(self, counts: Iterable[Counts]) -> Counts:
        total = Counts.zeros(self.classes)
        for one in counts:
            total += one
        return total


def _scores(counts: Counts) -> Scores:
    return card_scores(set_scores(counts))


def _on_cpu(labels: Tensor) -> Labels:
    return labels[0].to("cpu", torch.uint8).numpy()
