"""`DenseCRF` and `DenseCRF2D` as pydensecrf has them. Names and the order of arguments are its."""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segtool.crf import native
from segtool.crf.points import MOST_FEATURES, Normalization, PointKernel
from segtool.densecrf.kernels import bilateral_kernel, spatial_kernel
from segtool.errors import SegtoolError

CONST_KERNEL, DIAG_KERNEL, FULL_KERNEL = 0, 1, 2
NO_NORMALIZATION, NORMALIZE_BEFORE, NORMALIZE_AFTER, NORMALIZE_SYMMETRIC = 0, 1, 2, 3
_NORMALIZATIONS: dict[int, Normalization] = {
    NO_NORMALIZATION: "none",
    NORMALIZE_BEFORE: "before",
    NORMALIZE_AFTER: "after",
    NORMALIZE_SYMMETRIC: "symmetric",
}
_TINY = 1e-20
Array = NDArray[np.float32]
Kernel = Callable[[Array], Array]  # the normalised kernel times values [C,N]
Width = float | Sequence[float]


class DenseCRF:
    """A fully connected CRF on points.

    Args:
        nvar: N, the points.
        nlabels: C.

    Attributes:
        threads: of what follows; 0: as many as OMP_NUM_THREADS says, or as the process has cores. The bits are the same
            for any number. pydensecrf has one thread, and no such attribute.
        usual_threads: what `threads` is at first; of the class, so that it can be set for all that are made later.

    Raises:
        SegtoolError: fewer than one point or class.
    """

    usual_threads = 0

    def __init__(self, nvar: int, nlabels: int) -> None:
        if nvar < 1 or nlabels < 1:
            raise SegtoolError("a CRF has points and classes", where=f"{nvar} points, {nlabels} classes")
        self.threads = self.usual_threads
        self._points, self._classes = int(nvar), int(nlabels)
        self._unary: Array = np.zeros((self._classes, self._points), np.float32)
        self._terms: list[tuple[Kernel, Array]] = []

    def setUnary(self, u: Any) -> None:
        """Not carried over from pydensecrf: its energies are objects, which only learning needs.

        Raises:
            SegtoolError: always.
        """
        raise SegtoolError("setUnary is not carried over from pydensecrf", where="setUnary", mend="setUnaryEnergy")

    def setUnaryEnergy(self, u: ArrayLike) -> None:
        """The unary energies, [C,N]: -log p, as `unary_from_softmax` gives them.

        Raises:
            SegtoolError: of another shape, not finite, or probabilities.
        """
        unary = np.ascontiguousarray(u, np.float32)
        if unary.shape != (self._classes, self._points):
            wanted = f"[{self._classes},{self._points}]"
            raise SegtoolError(f"unary energies must be {wanted}", where=f"shape {list(unary.shape)}")
        if not np.isfinite(unary).all():
            mend = "clip probabilities before their logarithm: unary_from_softmax does"
            raise SegtoolError("unary energies that are no finite numbers", where="setUnaryEnergy", mend=mend)
        if self._classes > 1 and unary.min() >= 0 and np.allclose(unary.sum(0), 1, atol=1e-3):
            mend = "unary_from_softmax(probabilities) makes energies of them"
            raise SegtoolError("these are probabilities, not energies", where="setUnaryEnergy", mend=mend)
        self._unary = unary

    def addPairwiseEnergy(
        self,
        feats: ArrayLike,
        compat: Any = 3,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """A pairwise term with any features.

        Args:
            feats: [D,N], divided by the kernel's standard deviations; D of 1..16.
            compat: a number w attracts: points that are alike are w more probable to have one label. A vector [C] or a
                matrix [C,C] is a penalty: negative entries attract; a matrix is made symmetric.
            kernel: CONST_KERNEL or DIAG_KERNEL, which are one before anything is learned.
            normalization: NORMALIZE_SYMMETRIC, NORMALIZE_BEFORE, NORMALIZE_AFTER or NO_NORMALIZATION.

        Raises:
            SegtoolError: shapes that do not fit, features that are not finite or too far from 0; FULL_KERNEL.
        """
        features = np.asarray(feats, np.float32)
        if features.ndim != 2 or features.shape[1] != self._points or not 1 <= len(features) <= MOST_FEATURES:
            wanted = f"features must be [D,{self._points}], D of 1..{MOST_FEATURES}"
            raise SegtoolError(wanted, where=f"shape {list(features.shape)}")
        self._add(PointKernel(features, _normalization(kernel, normalization), self.threads), compat)

    def inference(self, niter: int) -> Array:
        """The probabilities [C,N] after `niter` iterations of mean field."""
        q, *_ = self.startInference()
        for _ in range(_iterations(niter)):
            self._step(q)
        return q

    def startInference(self) -> tuple[Array, Array, Array]:
        """The probabilities of the unary energies alone, for `stepInference`, and two arrays that it does not need."""
        q = np.empty_like(self._unary)
        self._update(q, [])
        return q, np.empty(0, np.float32), np.empty(0, np.float32)

    def stepInference(self, q: Array, tmp1: Array, tmp2: Array) -> None:
        """One iteration of mean field on q, in place."""
        self._check(q)
        self._step(q)

    def klDivergence(self, q: Array) -> float:
        """KL(Q || P) but for the constant log Z: what mean field makes small."""
        self._check(q)
        energy = np.float64((q * np.log(np.maximum(q, _TINY))).sum(dtype=np.float64))
        energy += (self._unary * q).sum(dtype=np.float64)
        for kernel, table in self._terms:
            energy -= (q * (table.T @ kernel(q))).sum(dtype=np.float64)
        return float(energy)

    def _add(self, kernel: Kernel, compat: Any) -> None:
        self._terms.append((kernel, _table(compat, self._classes)))

    def _check(self, q: Array) -> None:
        if not isinstance(q, np.ndarray) or q.dtype != np.float32 or q.shape != self._unary.shape:
            raise SegtoolError("Q must be what startInference gave", where="stepInference or klDivergence")

    def _step(self, q: Array) -> None:
        self._update(q, [(kernel(q), table) for kernel, table in self._terms])

    def _update(self, q: Array, messages: Sequence[tuple[Array, Array]]) -> None:
        """Q = softmax(-U + sum of messages times tables), two of them at a time."""
        pairs = [messages[i : i + 2] for i in range(0, len(messages), 2)] or [()]
        z = -self._unary
        for place, pair in enumerate(pairs):
            last = place == len(pairs) - 1
            inputs = [np.ascontiguousarray(part) for two in zip(*pair, strict=True) for part in two] if pair else []
            half = len(pair)
            given = [*inputs[:half], *[None] * (2 - half), *inputs[half:], *[None] * (2 - half)]
            pointers = [z.ctypes.data, *(0 if part is None else part.ctypes.data for part in given)]
            out = q if last else z
            sizes = 1, self._classes, self._points
            native.mean_field_update_pointers(
                pointers, sizes, out.ctypes.data, normalize=last, channels_last=False, threads=self.threads
            )


class DenseCRF2D(DenseCRF):
    """A fully connected CRF on the pixels of an image.

    Args:
        w, h: of the image, in this order.
        nlabels: C.
    """

    def __init__(self, w: int, h: int, nlabels: int) -> None:
        super().__init__(w * h, nlabels)
        self._width, self._height = int(w), int(h)

    def addPairwiseGaussian(
        self, sxy: Width, compat: Any, kernel: int = DIAG_KERNEL, normalization: int = NORMALIZE_SYMMETRIC
    ) -> None:
        """A term that makes labels smooth, whatever the colours.

        Args:
            sxy: standard deviation in pixels, or (x, y).
            compat, kernel, normalization: see `addPairwiseEnergy`.
        """
        how = _normalization(kernel, normalization)
        self._add(spatial_kernel(self._height, self._width, _widths(sxy, 2, "sxy"), how, self.threads), compat)

    def addPairwiseBilateral(
        self,
        sxy: Width,
        srgb: Width,
        rgbim: ArrayLike,
        compat: Any,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """A term that makes labels follow the edges of an image.

        Args:
            sxy: standard deviation in pixels, or (x, y).
            srgb: standard deviation in levels, or (red, green, blue).
            rgbim: uint8 [h,w,3].
            compat, kernel, normalization: see `addPairwiseEnergy`.

        Raises:
            SegtoolError: not such an image, or a width that is not positive.
        """
        image = np.asarray(rgbim)
        if image.dtype != np.uint8 or image.shape != (self._height, self._width, 3):
            wanted = f"rgbim must be uint8 [{self._height},{self._width},3]"
            mend = "other numbers: create_pairwise_bilateral and addPairwiseEnergy"
            raise SegtoolError(wanted, where=f"{image.dtype} {list(image.shape)}", mend=mend)
        how = _normalization(kernel, normalization)
        widths, colors = _widths(sxy, 2, "sxy"), _widths(srgb, 3, "srgb")
        self._add(bilateral_kernel(image, widths, colors, how, self.threads), compat)


def _normalization(kernel: int, normalization: int) -> Normalization:
    if kernel == FULL_KERNEL:
        mend = "DIAG_KERNEL gives the same: pydensecrf's Python interface cannot learn what makes them differ"
        raise SegtoolError("FULL_KERNEL is not carried over from pydensecrf", where="kernel", mend=mend)
    if kernel not in (CONST_KERNEL, DIAG_KERNEL):
        raise SegtoolError(f"there is no kernel {kernel}", where="kernel", mend="DIAG_KERNEL")
    if normalization not in _NORMALIZATIONS:
        raise SegtoolError(
            f"there is no normalization {normalization}", where="normalization", mend="NORMALIZE_SYMMETRIC"
        )
    return _NORMALIZATIONS[normalization]


def _widths(given: Width, count: int, name: str) -> tuple[float, ...]:
    numbers: Sequence[Any] = (given,) * count if isinstance(given, Real) else [*given]  # type: ignore[misc]  # no number
    widths = tuple(map(float, numbers))
    if len(widths) != count or not all(0 < width < np.inf for width in widths):
        mend = f"a positive number, or {count} of them"
        raise SegtoolError(f"{name} is {given}", where="standard deviation", mend=mend)
    return widths


def _table(compat: Any, classes: int) -> Array:
    """What a message is multiplied with: pydensecrf's numbers attract, its vectors and matrices are penalties."""
    given = np.asarray(compat, np.float32)
    if not np.isfinite(given).all() or given.shape not in ((), (classes,), (classes, classes)):
        mend = f"a number, {classes} of them, or [{classes},{classes}]"
        raise SegtoolError("not a compatibility", where=f"compat of shape {list(given.shape)}", mend=mend)
    if given.ndim == 0:
        return np.asarray(given * np.eye(classes, dtype=np.float32))
    return -np.diag(given) if given.ndim == 1 else np.ascontiguousarray(-(given + given.T) / 2)


def _iterations(count: int) -> int:
    if count < 0:
        raise SegtoolError(f"{count} iterations", where="inference", mend="0 or more")
    return int(count)
