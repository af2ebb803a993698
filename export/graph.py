"""The exported graph: from raw RGB bytes to labels, everything between inside."""

import torch
from torch import Tensor, nn

from segtool.crf import plain
from segtool.train.networks import Segmenter, SegmenterLogits

INPUT = "image"


class DeployedGraph(nn.Module):
    """From an image [N,H,W,B] as the contract says, such as uint8 RGB, to labels uint8 [N,H,W], confidence float32
    [N,H,W], with a CRF unary_labels uint8 [N,H,W], with a contextual and a dense CRF context_labels uint8 [N,H,W], and,
    if asked for, probabilities float32 [N,C,H,W] and the logits before the dense CRF, float32 [N,C,H,W]."""

    def __init__(self, segmenter: Segmenter, probabilities: bool = False, logits: bool = False) -> None:
        super().__init__()
        self.segmenter, self.probabilities, self.logits = segmenter.eval(), probabilities, logits

    @property
    def output_names(self) -> list[str]:
        """Names of what forward returns, in order."""
        names = ["labels", "confidence"]
        names += ["unary_labels"] * self._has_crf + ["context_labels"] * self._has_both
        return names + ["probabilities"] * self.probabilities + ["logits"] * self.logits

    @property
    def _has_crf(self) -> bool:
        return self.segmenter.last_crf is not None

    @property
    def _has_both(self) -> bool:
        return self.segmenter.context is not None and self.segmenter.crf is not None

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits: SegmenterLogits = self.segmenter(image.float().permute(0, 3, 1, 2))
        probabilities = plain.softmax(logits.refined)
        confidence, labels = probabilities.max(1)
        outputs = [_bytes(labels), confidence]
        if self._has_crf:
            outputs.append(_bytes(logits.unary.argmax(1)))
        if self._has_both:
            outputs.append(_bytes(logits.contextual.argmax(1)))
        outputs += [probabilities] * self.probabilities + [logits.contextual] * self.logits
        return tuple(outputs)


def _bytes(labels: Tensor) -> Tensor:
    return labels.to(torch.uint8)
