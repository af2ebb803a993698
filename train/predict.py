"""Running a segmenter in PyTorch on single images."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segtool.crf.layer import DenseCRF
from segtool.prediction import Prediction
from segtool.readers import check_conforms, reader_of
from segtool.train.config.views import WHOLE, Views
from segtool.train.networks import Segmenter, SegmenterLogits
from segtool.train.views import view_logits

KERNELS = ("spatial", "bilateral")


class TorchPredictor:
    """Calls a segmenter on images [H,W,B]; the counterpart of the deployed runtimes.

    Args:
        segmenter: on any device; is put into eval mode.
        iterations: of the CRF, if not the segmenter's own.
        views: what of an image the network is shown.

    Attributes:
        reader: reads image files as the segmenter takes them.
    """

    def __init__(self, segmenter: Segmenter, iterations: int | None = None, views: Views = WHOLE) -> None:
        self.segmenter, self.iterations, self.views = segmenter.eval(), iterations, views
        self.reader = reader_of(segmenter.contract)

    def taken(self, image: Any) -> NDArray[Any]:
        """An image as the array [H,W,B] that the segmenter takes; the path of a file is read."""
        values = self.reader.open(Path(image)).values if isinstance(image, str | Path) else np.asarray(image)
        check_conforms(values, self.segmenter.contract, "image")
        return values

    @torch.inference_mode()
    def __call__(self, image: NDArray[Any]) -> Prediction:
        unary, contextual, refined = self._logits(image)
        probabilities = refined.softmax(1)[0]
        labels, confidence = winners(probabilities)
        before = (None, None) if refined is unary else winners(unary.softmax(1)[0])
        both = contextual is not unary and refined is not contextual
        between = winners(contextual.softmax(1)[0]) if both else (None, None)
        return Prediction(labels, confidence, before[0], probabilities.cpu().numpy(), before[1], *between)

    @torch.inference_mode()
    def logits(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """What the dense CRF starts from, float32 [C,H,W]; without one, what the labels are the largest of."""
        return self._before_crf(self._pixels(image))[1][0].float().cpu().numpy()

    @torch.inference_mode()
    def labels_by_kernel(self, image: NDArray[Any]) -> dict[str, NDArray[np.uint8]]:
        """What the labels [H,W] would be if the dense CRF had only one of its kernels; empty without a dense CRF."""
        if self.segmenter.crf is None:
            return {}
        pixels = self._pixels(image)
        logits = self._before_crf(pixels)[1]
        guide = self.segmenter.guide(pixels)
        return {
            name: winners(crf(logits, guide, self.iterations)[0])[0] for name, crf in self._crfs_of_one_kernel.items()
        }

    @cached_property
    def _crfs_of_one_kernel(self) -> dict[str, DenseCRF]:
        assert self.segmenter.crf is not None
        card = self.segmenter.crf.fixed().to_card()
        nothing = np.zeros_like(card.spatial_compatibility).tolist()
        off = {"spatial": "bilateral_compatibility", "bilateral": "spatial_compatibility"}
        crfs = {name: DenseCRF.from_card(card.model_copy(update={off[name]: nothing})) for name in KERNELS}
        device = self.segmenter.mean.device
        return {name: crf.to(device).eval() for name, crf in crfs.items()}

    def _logits(self, image: NDArray[Any]) -> SegmenterLogits:
        pixels = self._pixels(image)
        unary, contextual = self._before_crf(pixels)
        crf = self.segmenter.crf
        refined = contextual if crf is None else crf(contextual, self.segmenter.guide(pixels), self.iterations)
        return SegmenterLogits(unary, contextual, refined)

    def _before_crf(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of all views together before and after the contextual CRF; the same twice without one."""
        if self.segmenter.context is None:
            unary = view_logits(self.segmenter.unary, pixels, self.views)
            return unary, unary
        # As one batch: so the network sees each view once.
        unary, contextual = view_logits(lambda x: torch.cat(self.segmenter.contextual(x)), pixels, self.views).chunk(2)
        return unary, contextual

    def _pixels(self, image: NDArray[Any]) -> Tensor:
        return image_tensor(image, self.segmenter.mean.device)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside; outside, the mode that each part had: parts of a network that learns may be fixed."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def image_tensor(image: NDArray[Any], device: torch.device) -> Tensor:
    """An image [H,W,B] as a segmenter takes it, float32 [1,B,H,W]."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].to(device, torch.float32)


def winners(scores: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Of scores [C,H,W]: the class of the highest [H,W], and that score [H,W]."""
    highest, labels = scores.max(0)
    return labels.to(torch.uint8).cpu().numpy(), highest.cpu().numpy()
