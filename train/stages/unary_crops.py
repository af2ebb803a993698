"""What the dense CRF learns from: crops of the logits that the fixed parts before it give on whole training images."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from segtool.data import SegmentationDataset
from segtool.train.networks import Segmenter
from segtool.train.predict import image_tensor
from segtool.train.seeds import seeded

UnaryCrop = tuple[Tensor, Tensor, Tensor]


class UnaryCrops(Dataset):
    """Random crops (logits float32 [C,h,w], guide float32 [3,h,w] with levels 0..255, labels int64 [h,w]).

    The network sees the whole image and the crop is not augmented: colours, scale and context are those with
    which the CRF will run. Colour jitter, for one, would teach it other contrasts than the camera's.

    Args:
        images: the training images.
        segmenter: its network, and its contextual CRF if it has one, make the logits, wherever it lies.
        crop: height, width in pixels; a smaller image is padded with void.
        seed: the window of item `epoch * len + index` depends on it, on the epoch and on the image.
    """

    def __init__(self, images: SegmentationDataset, segmenter: Segmenter, crop: tuple[int, int], seed: int = 0) -> None:
        self._images, self._segmenter, self._crop, self._seed = images, segmenter, crop, seed

    def __len__(self) -> int:
        return len(self._images)

    @torch.no_grad()
    def __getitem__(self, key: int) -> UnaryCrop:
        epoch, index = divmod(key, len(self))
        sample = self._images.load(index)
        image = image_tensor(sample.image, self._segmenter.mean.device)
        labels = torch.from_numpy(sample.labels).long()
        logits, guide = self._segmenter.contextual(image)[1][0].cpu(), self._segmenter.guide(image)[0].cpu()
        with seeded(self._seed, "unary crop", epoch, index):
            return self._cut(logits, guide, labels)

    def _cut(self, logits: Tensor, guide: Tensor, labels: Tensor) -> UnaryCrop:
        (height, width), (crop_h, crop_w) = labels.shape, self._crop
        top, left = _randint(height - crop_h), _randint(width - crop_w)
        window = (..., slice(top, top + crop_h), slice(left, left + crop_w))
        missing = (0, max(0, crop_w - width), 0, max(0, crop_h - height))
        return (
            F.pad(logits[window], missing),
            F.pad(guide[window], missing),
            F.pad(labels[window], missing, value=self._images.ignore_index),
        )


def _randint(inclusive: int) -> int:
    return int(torch.randint(0, max(0, inclusive) + 1, ()))
