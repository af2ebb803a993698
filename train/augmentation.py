"""Training crops: image and mask augmented together; whole images for validation."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from segtool.data.base import SegmentationDataset, even_choice
from segtool.train.config.settings import DataConfig
from segtool.train.seeds import seeded


class RandomScaledCrop(v2.Transform):
    """Cuts a window of size / s pixels, s uniform in `scale`, and resizes it to `size`.

    An image smaller than the window is padded with void at a random place.
    """

    def __init__(self, size: tuple[int, int], scale: tuple[float, float], fill: dict[type, object]) -> None:
        super().__init__()
        self.size, self.scale, self.fill = size, scale, fill

    def make_params(self, flat_inputs: list) -> dict[str, int]:
        height, width = flat_inputs[0].shape[-2:]
        s = float(torch.empty(1).uniform_(*self.scale))
        window_h, window_w = round(self.size[0] / s), round(self.size[1] / s)
        missing_h, missing_w = max(0, window_h - height), max(0, window_w - width)
        return {
            "top": _randint(height + missing_h - window_h),
            "left": _randint(width + missing_w - window_w),
            "height": window_h,
            "width": window_w,
            "pad_top": _randint(missing_h),
            "pad_left": _randint(missing_w),
            "missing_h": missing_h,
            "missing_w": missing_w,
        }

    def transform(self, inpt: Tensor, params: dict[str, int]) -> Tensor:
        p = params
        if p["missing_h"] or p["missing_w"]:
            sides = [
                p["pad_left"],
                p["pad_top"],
                p["missing_w"] - p["pad_left"],
                p["missing_h"] - p["pad_top"],
            ]
            inpt = F.pad(inpt, sides, fill=self.fill[type(inpt)])  # type: ignore[arg-type]
        window = F.crop(inpt, p["top"], p["left"], p["height"], p["width"])
        # v2 resizes masks by another rule, which takes the pixel half a pixel up and left, unless it is told.
        how = InterpolationMode.NEAREST_EXACT if isinstance(inpt, tv_tensors.Mask) else InterpolationMode.BILINEAR
        return F.resize(window, list(self.size), how, antialias=True)


def _randint(inclusive: int) -> int:
    return int(torch.randint(0, inclusive + 1, ()))


class TrainingCrops(Dataset):
    """Augmented crops: image float32 [3,h,w] with levels 0..255, labels int64 [h,w].

    Item `epoch * len + index` (see `EpochSampler`) is image `index` as it is augmented in that epoch: a function of
    the seed, the epoch and the image alone.
    """

    def __init__(self, dataset: SegmentationDataset, config: DataConfig, seed: int = 0) -> None:
        self._dataset, self._seed, self._noise = dataset, seed, config.noise
        self._transform = augmentation(config, dataset.ignore_index)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, key: int) -> tuple[Tensor, Tensor]:
        epoch, index = divmod(key, len(self))
        sample = self._dataset.load(index)
        image = tv_tensors.Image(torch.from_numpy(sample.image).permute(2, 0, 1))
        mask = tv_tensors.Mask(torch.from_numpy(sample.labels))
        with seeded(self._seed, "crop", epoch, index):
            image, mask = self._transform(image, mask)
            levels = image.as_subclass(Tensor).float()
            if self._noise:  # torchvision's would cut it off to whole levels
                levels = (levels + self._noise * torch.randn_like(levels)).clamp(0, 255)
        return levels, mask.as_subclass(Tensor).long()


def augmentation(config: DataConfig, ignore_index: int) -> v2.Transform:
    """The transform of (tv_tensors.Image uint8 [3,H,W], tv_tensors.Mask [H,W]); new pixels are void."""
    fill: dict[type, object] = {tv_tensors.Image: [124, 116, 104], tv_tensors.Mask: ignore_index}
    jitter = config.color_jitter
    steps: list[v2.Transform] = [RandomScaledCrop(config.crop, config.scale, fill)]
    if config.flip:
        steps.append(v2.RandomHorizontalFlip(0.5))
    if config.rotate:
        # Masks are rotated by the nearest pixel whatever is said here.
        steps.append(v2.RandomRotation(config.rotate, InterpolationMode.BILINEAR, fill=fill))
    if jitter:
        steps.append(v2.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter))
    return v2.Compose(steps)


class WholeImages(Dataset):
    """Whole images for validation: image uint8 [3,H,W], labels uint8 [H,W]; optionally an even choice of `limit`.

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
        return torch.from_numpy(sample.image).permute(2, 0, 1), torch.from_numpy(labels)
