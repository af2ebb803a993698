"""A dense CRF of a model card on arrays, without PyTorch."""

import numpy as np
from numpy.typing import NDArray

from segtool.card import CrfCard
from segtool.crf.native import mean_field


def refine(
    logits: NDArray[np.float32], image: NDArray[np.uint8] | NDArray[np.float32], card: CrfCard, threads: int = 0
) -> NDArray[np.float32]:
    """Class probabilities after the CRF, float32 [C,H,W], as `segtool.crf.layer.DenseCRF` gives them.

    Args:
        logits: [C,H,W], before the CRF; logarithms of probabilities will do.
        image: what the colour kernel sees, levels 0..255 [H,W,3].
        card: the CRF's.
        threads: 0: as many as OMP_NUM_THREADS says, or as the process has cores.

    Raises:
        SegtoolError: shapes that do not fit.
    """
    scale = np.asarray(card.unary_scale, np.float32)[:, None, None]
    unary = (log_softmax(logits) if card.normalize_unary else logits) * scale
    tables = tuple(
        np.asarray(table, np.float32) for table in (card.spatial_compatibility, card.bilateral_compatibility)
    )
    widths = (card.spatial_gamma, card.bilateral_alpha, card.bilateral_beta)
    pixels = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
    found = mean_field(unary[None], pixels[None], widths, (tables[0], tables[1]), card.iterations, threads)[0]
    if card.temperature == 1:
        return found
    tempered = np.log(np.maximum(found, np.finfo(np.float32).tiny)) / np.float32(card.temperature)
    return np.exp(log_softmax(tempered))


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logarithms of the probabilities of classes along the first axis."""
    shifted = logits - logits.max(0)
    shifted -= np.log(np.exp(shifted).sum(0))
    return shifted
