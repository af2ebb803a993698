"""The scores of a validation, before and after the CRF."""

import torch
from torch import Tensor

from segtool.card import Scores
from segtool.evaluation.boundaries import Labels, Truth
from segtool.evaluation.counts import TOLERANCES, Counts, count_image
from segtool.evaluation.evaluate import card_scores
from segtool.evaluation.scores import set_scores
from segtool.train import distributed


class Validation:
    """Is reset, fed with one image after the other, and asked for the scores.

    Args:
        classes: C.
        with_crf: whether there is a CRF whose labels are scored too.
    """

    def __init__(self, classes: int, with_crf: bool) -> None:
        self.classes, self.with_crf = classes, with_crf
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._before, self._after = Counts.zeros(self.classes), Counts.zeros(self.classes)
        self._found: tuple[Scores, Scores | None] | None = None

    def add(self, labels: Tensor, unary: Tensor, refined: Tensor | None) -> None:
        """Counts an image.

        Args:
            labels: [1,H,W].
            unary: logits of the network, [1,C,H,W].
            refined: logits of Q_T, [1,C,H,W], where there is a CRF.
        """
        self._found = None
        truth = Truth(_on_cpu(labels), self.classes, TOLERANCES)
        self._before += count_image(_on_cpu(unary.argmax(1)), truth)
        if refined is not None:
            self._after += count_image(_on_cpu(refined.argmax(1)), truth)

    def scores(self) -> tuple[Scores, Scores | None]:
        """Before and after the CRF (None if there is none), of the images of all processes.

        The first call after an image adds up what the processes have counted, so all of them have to make it.
        """
        if self._found is None:
            before, after = Counts.zeros(self.classes), Counts.zeros(self.classes)
            for counts in distributed.gathered((self._before, self._after)):
                before += counts[0]
                after += counts[1]
            self._found = _scores(before), _scores(after) if self.with_crf else None
        return self._found


def _scores(counts: Counts) -> Scores:
    return card_scores(set_scores(counts))


def _on_cpu(labels: Tensor) -> Labels:
    return labels[0].to("cpu", torch.uint8).numpy()
