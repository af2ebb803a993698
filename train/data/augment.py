"""Training crops: a torch dataset that caches decoded images and augments image and mask together."""

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from segtool.train.config import DataConfig
from segtool.train.data.base import Sample, SegmentationDataset


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
        return F.resized_crop(inpt, p["top"], p["left"], p["height"], p["width"], list(self.size), antialias=True)


def _randint(inclusive: int) -> int:
    return int(torch.randint(0, inclusive + 1, ()))


class TrainingCrops(Dataset):
    """Augmented crops: image float32 [3,h,w] with levels 0..255, labels int64 [h,w]."""

    def __init__(self, dataset: SegmentationDataset, config: DataConfig) -> None:
        self._dataset, self._config = dataset, config
        self._cache: dict[int, Sample] | None = {} if config.cache else None
        fill = {tv_tensors.Image: [124, 116, 104], tv_tensors.Mask: dataset.ignore_index}
        jitter = config.color_jitter
        self._transform = v2.Compose(
            [
                RandomScaledCrop(config.crop, config.scale, fill),
                v2.RandomHorizontalFlip(0.5 if config.flip else 0.0),
                v2.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter),
            ]
        )

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.load(index)
        image = tv_tensors.Image(torch.from_numpy(sample.image).permute(2, 0, 1))
        mask = tv_tensors.Mask(torch.from_numpy(sample.labels))
        image, mask = self._transform(image, mask)
        return image.as_subclass(Tensor).float(), mask.as_subclass(Tensor).long()

    def load(self, index: int) -> Sample:
        """A whole image and its labels, from the cache if there is one."""
        if self._cache is None:
            return self._dataset.load(index)
        if index not in self._cache:
            self._cache[index] = self._dataset.load(index)
        return self._cache[index]


class WholeImages(Dataset):
    """Whole images for validation: image uint8 [3,H,W], labels uint8 [H,W]; optionally an even choice of `limit`."""

    def __init__(self, dataset: SegmentationDataset, limit: int | None = None) -> None:
        self._dataset = dataset
        count = len(dataset)
        self._indices = list(range(count))
        if limit is not None and limit < count:
            self._indices = [i * count // limit for i in range(limit)]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self._dataset.load(self._indices[index])
        return torch.from_numpy(sample.image).permute(2, 0, 1), torch.from_numpy(sample.labels)
