"""Running a segmenter in PyTorch on single images."""

import numpy as np
import torch
from numpy.typing import NDArray

from segtool.prediction import Prediction
from segtool.train.models import Segmenter


class TorchPredictor:
    """Calls a segmenter on uint8 [H,W,3] images; the counterpart of the deployed runtimes."""

    def __init__(self, segmenter: Segmenter, iterations: int | None = None) -> None:
        self.segmenter = segmenter.eval()
        if iterations is not None and segmenter.crf is not None:
            segmenter.crf.iterations = iterations

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> Prediction:
        device = next(self.segmenter.parameters()).device
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(device, torch.float32)
        unary, refined = self.segmenter(pixels)
        probabilities = refined.softmax(1)[0]
        confidence, labels = probabilities.max(0)
        return Prediction(
            labels=labels.to(torch.uint8).cpu().numpy(),
            confidence=confidence.cpu().numpy(),
            unary_labels=None if self.segmenter.crf is None else unary[0].argmax(0).to(torch.uint8).cpu().numpy(),
            probabilities=probabilities.cpu().numpy(),
        )
