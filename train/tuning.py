"""A model under other parameters of its CRF, on the same image again and again."""

from collections import OrderedDict
from threading import Lock
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from segtool.card import CrfCard
from segtool.crf.layer import DenseCRF
from segtool.prediction import Prediction
from segtool.train.networks import Segmenter
from segtool.train.predict import image_tensor, winners

_KEPT = 2  # images whose unary logits are remembered


class CrfTuner:
    """Calls a segmenter on images [H,W,B] with a CRF that is given each time; the network sees an image once.

    May be called from several threads, one of which runs at a time.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter.eval()
        self._unary: OrderedDict[bytes, tuple[Tensor, Tensor]] = OrderedDict()
        self._lock = Lock()

    @torch.inference_mode()
    def __call__(self, image: NDArray[Any], card: CrfCard) -> Prediction:
        device = self.segmenter.mean.device
        with self._lock:
            pixels = image_tensor(image, device)
            unary, contextual = self._logits(image, pixels)
            crf = DenseCRF.from_card(card.model_copy(update={"learn_widths": False})).to(device)
            probabilities = crf(contextual, self.segmenter.guide(pixels)).softmax(1)[0]
        before, before_confidence = winners(unary.softmax(1)[0])
        between = (None, None) if contextual is unary else winners(contextual.softmax(1)[0])
        return Prediction(*winners(probabilities), before, None, before_confidence, *between)

    def _logits(self, image: NDArray[Any], pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Before and after the contextual CRF; the same twice without one."""
        key = image.tobytes() + bytes(str(image.shape), "ascii")
        if key not in self._unary:
            self._unary[key] = self.segmenter.contextual(pixels)
            while len(self._unary) > _KEPT:
                self._unary.popitem(last=False)
        self._unary.move_to_end(key)
        return self._unary[key]
