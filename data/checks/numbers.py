"""What numbers the bands of a split's images have, and the contract of a model that is trained on them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.bands import limits, sampled, usual_channels
from segtool.data.checks.findings import Finding
from segtool.errors import SegtoolError
from segtool.input_contract import MOST_BANDS, InputContract, Three

_SAMPLES, _MOST_OF_ONE, _FEWEST_OF_ONE = 2_000_000, 4096, 16  # pixels that are kept, of all images and of one
_LEVELS = (0.0, 255.0)
_LEAST_DEVIATION = 1e-3  # of what lies between black and white
Image = NDArray[Any]


class BandNumbers:
    """Is fed with images [H,W,B], and asked what they have in common.

    Args:
        images: how many there will be.
    """

    def __init__(self, images: int) -> None:
        self._of_one = min(_MOST_OF_ONE, max(_FEWEST_OF_ONE, _SAMPLES // max(1, images)))
        self._seen: list[tuple[str, str, int]] = []  # where, kind, channels
        self._samples: dict[tuple[str, int], list[NDArray[np.float32]]] = {}
        self._nodata: Counter[float] = Counter()
        self._files = 0

    def add(self, image: Image, where: str, nodata: float | None = None) -> None:
        """An image, and the number that its file has where there are no data."""
        self._files += 1
        key = str(image.dtype), image.shape[2]
        self._seen.append((where, *key))
        numbers = sampled(image, self._of_one).astype(np.float32)
        if nodata is not None:
            if key[0] != "float32":
                self._nodata[nodata] += 1
            numbers = numbers[~(numbers == np.float32(nodata)).all(1)]
        self._samples.setdefault(key, []).append(numbers)

    def problems(self) -> Iterator[Finding]:
        """Images that are not as most are."""
        common = self.common
        for where, kind, channels in self._seen:
            if (kind, channels) != common and common is not None:
                mend = f"most have {common[1]} of {common[0]}: data.bands chooses the same of each, or leave it out"
                yield Finding(f"an image of {channels} bands of {kind}", where, mend)
        if common is not None and common[1] > MOST_BANDS:
            yield Finding(f"images of {common[1]} bands", "data.bands", f"choose {MOST_BANDS} of them at most")
        if len(self._nodata) > 1:
            said = ", ".join(f"{value:g}" for value in sorted(self._nodata))
            yield Finding(f"files have several numbers for no data, {said}", "nodata", "write one in all files")

    def doubts(self) -> Iterator[Finding]:
        """What may be meant: bands that are the same everywhere, and files that do not say what others say."""
        if self.common is None:
            return
        every = np.concatenate(self._samples[self.common])
        known = np.where(np.isfinite(every), every, np.nan)
        for band, numbers in enumerate(known.T, 1):
            if np.isfinite(numbers).any() and np.nanmin(numbers) == np.nanmax(numbers) and len(numbers) > 1:
                value = f"{np.nanmin(numbers):g}"
                yield Finding(
                    f"a band that is {value} in all images", f"channel {band}", "it says nothing: leave it out"
                )
        told = sum(self._nodata.values())
        if 0 < told < self._files and self.common[0] != "float32":
            what = f"{told} of {self._files} files say which number is no data"
            yield Finding(what, f"{next(iter(self._nodata)):g}", "in the others it is taken for no data, too")

    @property
    def common(self) -> tuple[str, int] | None:
        """The kind and the number of bands that most images have; None without images."""
        count = Counter((kind, channels) for _, kind, channels in self._seen)
        return max(count, key=lambda key: count[key]) if count else None

    def contract(
        self, bands: Sequence[int], shown: Sequence[int] | None = None, guide: Sequence[int] | None = None
    ) -> InputContract:
        """What a model that is trained on the images takes.

        Args:
            bands: the numbers of the bands in the files; all in their order when there are none.
            shown, guide: bands of the files, which are drawn red, green and blue, and which guide the dense CRF; those
                that are shown guide it when nothing else is said.

        Raises:
            SegtoolError: there are no images, or no such bands.
        """
        common = self.common
        assert common is not None  # a split without images is refused before
        kind, count = common
        numbers = np.concatenate(self._samples[common])
        low, high = limits(numbers)
        if kind == "uint8":
            low, high = [_LEVELS[0]] * count, [_LEVELS[1]] * count
        mean, std = _moments(numbers, np.asarray(low), np.asarray(high))
        chosen = tuple(bands) or tuple(range(1, count + 1))
        if len(chosen) != count:
            what = f"{len(chosen)} bands are wanted of images that have {count}"
            raise SegtoolError(what, where="data.bands", mend="only bands of files can be chosen; leave it out")
        drawn = _channels(shown, chosen, "data.shown") or usual_channels(count)
        nodata = next(iter(self._nodata), None)
        return InputContract(
            mean=mean,
            std=std,
            bands=chosen,
            kind=kind,  # type: ignore[arg-type]  # readers give no others
            low=tuple(low),
            high=tuple(high),
            shown=drawn,
            guide=_channels(guide, chosen, "crf.bands") or drawn,
            nodata=None if nodata is None or kind == "float32" else int(nodata),
        )


def _moments(
    numbers: NDArray[np.float32], low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of what the network sees of each channel, which ends where the graph cuts it off."""
    span = high - low
    seen = np.clip(numbers.astype(np.float64), low - span, high + span)
    known = np.isfinite(seen)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, seen, 0).sum(0) / count
    deviation = np.sqrt(np.where(known, (seen - mean) ** 2, 0).sum(0) / count)
    # A band that is the same everywhere says nothing, and what little another image adds to it may not count for much.
    return tuple(mean.tolist()), tuple(np.where(deviation < _LEAST_DEVIATION * span, span, deviation).tolist())


def _channels(wanted: Sequence[int] | None, bands: Sequence[int], where: str) -> Three | None:
    """Which channels of the model have the wanted bands of a file."""
    if wanted is None:
        return None
    for band in wanted:
        if band not in bands:
            said = ", ".join(map(str, bands))
            raise SegtoolError(f"band {band} is not read", where=where, mend=f"three of {said}")
    first, second, third = (bands.index(band) + 1 for band in wanted)
    return first, second, third
