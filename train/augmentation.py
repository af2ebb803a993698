"""Training crops: image and mask augmented together; whole images for validation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from segtool.data.base import Sample, SegmentationDataset, even_choice
from segtool.input_contract import InputContract
from segtool.readers import Parted
from segtool.train.config.settings import DataConfig
from segtool.train.seeds import seeded

RGB = InputContract()
_FILL = [124, 116, 104]  # the mean of pictures, levels
_SHRINKS = (1, 2, 4, 8)  # times that a JPEG can be decoded smaller


class Window(NamedTuple):
    """Where a crop lies.

    Attributes:
        rows, columns: of the image.
        padding: pixels that are added on the left, above, on the right and below.
    """

    rows: slice
    columns: slice
    padding: tuple[int, int, int, int]


class RandomScaledCrop(v2.Transform):
    """Cuts a window of size / s pixels, s uniform in `scale`, and resizes it to `size`.

    An image smaller than the window is padded with void at a random place.
    """

    def __init__(self, size: tuple[int, int], scale: tuple[float, float], fill: dict[type, object]) -> None:
        super().__init__()
        self.size, self.scale, self.fill = size, scale, fill

    def draw(self, height: int, width: int) -> Window:
        """A window in an image of that size."""
        s = float(torch.empty(1).uniform_(*self.scale))
        wanted = round(self.size[0] / s), round(self.size[1] / s)
        missing = [max(0, want - have) for want, have in zip(wanted, (height, width), strict=True)]
        top, left = (
            _randint(have + lacks - want) for want, have, lacks in zip(wanted, (height, width), missing, strict=True)
        )
        above, before = _randint(missing[0]), _randint(missing[1])
        rows, columns = slice(top, top + wanted[0] - missing[0]), slice(left, left + wanted[1] - missing[1])
        return Window(rows, columns, (before, above, missing[1] - before, missing[0] - above))

    def make_params(self, flat_inputs: list) -> dict[str, Window]:
        return {"window": self.draw(*flat_inputs[0].shape[-2:])}

    def transform(self, inpt: Tensor, params: dict[str, Window]) -> Tensor:
        rows, columns, _ = window = params["window"]
        sides = rows.stop - rows.start, columns.stop - columns.start
        return self.fitted(F.crop(inpt, rows.start, columns.start, *sides), window)

    def fitted(self, part: Tensor, window: Window) -> Tensor:
        """What of an image lies in a window, padded and resized."""
        if any(window.padding):
            part = F.pad(part, list(window.padding), fill=self.fill[type(part)])  # type: ignore[arg-type]
        # v2 resizes masks by another rule, which takes the pixel half a pixel up and left, unless it is told.
        how = InterpolationMode.NEAREST_EXACT if isinstance(part, tv_tensors.Mask) else InterpolationMode.BILINEAR
        return F.resize(part, list(self.size), how, antialias=True)


def _randint(inclusive: int) -> int:
    return int(torch.randint(0, inclusive + 1, ()))


class BandJitter(v2.Transform):
    """Brightness and contrast of bands of any kind: numbers times a factor from their `low`, then from their mean.

    Args:
        most: factors are uniform in 1 - most..1 + most.
        low: [B,1,1], what is drawn black.
    """

    def __init__(self, most: float, low: Tensor) -> None:
        super().__init__()
        self.most, self.low = most, low

    def make_params(self, flat_inputs: list) -> dict[str, float]:
        brightness, contrast = torch.empty(2).uniform_(1 - self.most, 1 + self.most).tolist()
        return {"brightness": brightness, "contrast": contrast}

    def transform(self, inpt: Tensor, params: dict[str, float]) -> Tensor:
        if not isinstance(inpt, tv_tensors.Image):
            return inpt
        bright = self.low + params["brightness"] * (inpt.as_subclass(Tensor) - self.low)
        mean = bright.mean((-2, -1), keepdim=True)
        return tv_tensors.Image(mean + params["contrast"] * (bright - mean))


class TrainingCrops(Dataset):
    """Augmented crops: image float32 [B,h,w] with numbers as they are read, labels int64 [h,w].

    Item `epoch * len + index` (see `EpochSampler`) is image `index` as it is augmented in that epoch: a function of
    the seed, the epoch and the image alone.

    Args:
        contract: what images are.
    """

    def __init__(
        self, dataset: SegmentationDataset, config: DataConfig, seed: int = 0, contract: InputContract = RGB
    ) -> None:
        self._dataset, self._seed, self._contract = dataset, seed, contract
        self._crop, *steps = _steps(config, dataset.ignore_index, contract)
        self._steps = v2.Compose(steps or [v2.Identity()])
        self._noise = config.noise * (_column(contract.high) - _column(contract.low)) / 255

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, key: int) -> tuple[Tensor, Tensor]:
        epoch, index = divmod(key, len(self))
        size, whole = self._opened(index)
        with seeded(self._seed, "crop", epoch, index):
            window = self._crop.draw(size.height, size.width)
            sample = self._part(index, window, size) if whole is None else whole.part(window.rows, window.columns)
            image, mask = self._steps(*self._fitted(sample, window))
            numbers = image.as_subclass(Tensor).float()
            if self._noise.any():  # torchvision's would cut it off to whole levels
                numbers = numbers + self._noise * torch.randn_like(numbers)
                numbers = numbers.clamp(0, 255) if self._contract.bands is None else numbers
        return numbers, mask.as_subclass(Tensor).long()

    def _opened(self, index: int) -> tuple[Parted, Sample | None]:
        """The size of an image; and where it must be decoded whole, the sample."""
        if (parted := self._dataset.parted(index)) is not None:
            return parted, None
        whole = self._dataset.load(index)
        return Parted(*whole.labels.shape), whole

    def _part(self, index: int, window: Window, size: Parted) -> Sample:
        """What of an image lies in a window, with no more of its file decoded than that needs."""
        rows, columns, padding = window
        times = min(_length(rows) // self._crop.size[0], _length(columns) // self._crop.size[1])
        shrink = 1 if any(padding) or not size.shrinks else max(s for s in _SHRINKS if s <= max(times, 1))
        rows, columns = _aligned(rows, shrink, size.height), _aligned(columns, shrink, size.width)
        return self._dataset.load_part(index, rows, columns, shrink)

    def _fitted(self, sample: Sample, window: Window) -> tuple[Tensor, Tensor]:
        image = tv_tensors.Image(_filled(sample.image, self._contract))
        mask = tv_tensors.Mask(torch.from_numpy(sample.labels))
        return self._crop.fitted(image, window), self._crop.fitted(mask, window)


def _aligned(side: slice, shrink: int, end: int) -> slice:
    """A little more than a part of an image, so that it holds whole pixels of one that is so many times smaller."""
    return slice(side.start // shrink * shrink, min(end, -(-side.stop // shrink) * shrink))


def _length(side: slice) -> int:
    return int(side.stop - side.start)


def _filled(image: NDArray[Any], contract: InputContract) -> Tensor:
    """An image as a tensor [B,H,W]: of pictures uint8; of bands float32, with the mean where there are no data, which
    would spread as images are scaled."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    if contract.bands is None:
        return tensor
    numbers, mean = tensor.float(), _column(contract.mean)
    if contract.kind == "float32":
        return torch.where(numbers.isnan(), mean, numbers)
    if contract.nodata is None:
        return numbers
    return torch.where(numbers == contract.nodata, mean, numbers)


def _column(numbers: Sequence[float]) -> Tensor:
    return torch.tensor(numbers)[:, None, None]


def augmentation(config: DataConfig, ignore_index: int, contract: InputContract = RGB) -> v2.Transform:
    """The transform of (tv_tensors.Image [B,H,W], tv_tensors.Mask [H,W]); pictures are uint8, bands float32. New pixels
    have the mean colour and are void."""
    return v2.Compose([*_steps(config, ignore_index, contract)])


def _steps(config: DataConfig, ignore_index: int, contract: InputContract) -> tuple[RandomScaledCrop, *tuple[Any, ...]]:
    color = _FILL if contract.bands is None else list(contract.mean)
    fill: dict[type, object] = {tv_tensors.Image: color, tv_tensors.Mask: ignore_index}
    jitter, steps = config.color_jitter, list[v2.Transform]()
    if config.flip:
        steps.append(v2.RandomHorizontalFlip(0.5))
    if config.rotate:
        # Masks are rotated by the nearest pixel whatever is said here.
        steps.append(v2.RandomRotation(config.rotate, InterpolationMode.BILINEAR, fill=fill))
    if jitter and contract.bands is None:
        steps.append(v2.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter))
    elif jitter:
        steps.append(BandJitter(jitter, _column(contract.low)))
    return RandomScaledCrop(config.crop, config.scale, fill), *steps


class WholeImages(Dataset):
    """Whole images for validation: image [B,H,W], uint8 or float32, labels uint8 [H,W]; optionally an even choice of
    `limit`.

    Of several processes each has every w-th image. All have as many: one that has run out of images repeats its last
    with nothing but void, which counts nowhere.
    """

    def __init__(self, dataset: SegmentationDataset, limit: int | None = None, rank: int = 0, world: int = 1) -> None:
        self._dataset = dataset
        indices = even_choice(len(dataset), limit)
        self._indices = indices[rank::world]
        self._length = -(-len(indices) // world)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        repeated = index >= len(self._indices)
        sample = self._dataset.load([*self._indices, 0][min(index, len(self._indices))])
        labels = np.full_like(sample.labels, self._dataset.ignore_index) if repeated else sample.labels
        image = torch.from_numpy(sample.image).permute(2, 0, 1)
        return image if image.dtype == torch.uint8 else image.float(), torch.from_numpy(labels)
