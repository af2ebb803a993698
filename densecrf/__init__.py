"""The dense CRF on anybody's probabilities, with the interface of pydensecrf.

>>> import segtool.densecrf as dcrf                                    # doctest: +SKIP
>>> from segtool.densecrf.utils import unary_from_softmax              # doctest: +SKIP
>>> crf = dcrf.DenseCRF2D(width, height, classes)                      # doctest: +SKIP
>>> crf.setUnaryEnergy(unary_from_softmax(probabilities))              # doctest: +SKIP
>>> crf.addPairwiseGaussian(sxy=3, compat=3)                           # doctest: +SKIP
>>> crf.addPairwiseBilateral(sxy=80, srgb=13, rgbim=image, compat=10)  # doctest: +SKIP
>>> labels = crf.inference(5).argmax(0)                                # doctest: +SKIP

Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials" (2011).
"""

from typing import Any

from segtool.densecrf.crf import (
    CONST_KERNEL,
    DIAG_KERNEL,
    FULL_KERNEL,
    NO_NORMALIZATION,
    NORMALIZE_AFTER,
    NORMALIZE_BEFORE,
    NORMALIZE_SYMMETRIC,
    DenseCRF,
    DenseCRF2D,
)
from segtool.errors import SegtoolError


def __getattr__(name: str) -> Any:
    if name in ("Unary", "ConstUnary", "LogisticUnary"):
        raise SegtoolError(
            f"{name} is not carried over from pydensecrf", where="segtool.densecrf", mend="setUnaryEnergy"
        )
    raise AttributeError(f"module {__name__} has no attribute {name}")


__all__ = [
    "CONST_KERNEL",
    "DIAG_KERNEL",
    "FULL_KERNEL",
    "NORMALIZE_AFTER",
    "NORMALIZE_BEFORE",
    "NORMALIZE_SYMMETRIC",
    "NO_NORMALIZATION",
    "DenseCRF",
    "DenseCRF2D",
]
