"""The exported graph: from raw RGB bytes to labels, everything between inside."""

import torch
from torch import Tensor, nn

from segtool.crf import plain
from segtool.train.networks import Segmenter

INPUT = "image"


class DeployedGraph(nn.Module):
    """image uint8 [N,H,W,3] RGB to labels uint8 [N,H,W], confidence float32 [N,H,W], unary_labels (with a
    CRF) uint8 [N,H,W] and, if asked for, probabilities float32 [N,C,H,W]."""

    def __init__(self, segmenter: Segmenter, probabilities: bool = False) -> None:
        super().__init__()
        self.segmenter, self.probabilities = segmenter.eval(), probabilities

    @property
    def output_names(self) -> list[str]:
        """Names of what forward returns, in order."""
        names = ["labels", "confidence"]
        names += ["unary_labels"] * (self.segmenter.crf is not None)
        return names + ["probabilities"] * self.probabilities

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        unary, refined = self.segmenter(image.float().permute(0, 3, 1, 2))
        probabilities = plain.softmax(refined)
        confidence, labels = probabilities.max(1)
        outputs = [_bytes(labels), confidence]
        if self.segmenter.crf is not None:
            outputs.append(_bytes(unary.argmax(1)))
        return (*outputs, probabilities) if self.probabilities else tuple(outputs)


def _bytes(labels: Tensor) -> Tensor:
    return labels.to(torch.uint8)
