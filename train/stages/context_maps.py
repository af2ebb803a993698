"""What the contextual CRF learns from: the features that the fixed network has of whole training images."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from segtool.card import ContextCard
from segtool.crf.contextual.coarse import ring_offsets
from segtool.crf.contextual.layer import ContextualCRF
from segtool.data import SegmentationDataset, even_choice
from segtool.errors import SegtoolError
from segtool.train.cache import free_memory
from segtool.train.config.settings import ContextStageConfig
from segtool.train.networks import Segmenter
from segtool.train.networks.features import FeatureSize, feature_size, last_layer
from segtool.train.predict import image_tensor

ContextMap = tuple[Tensor, Tensor]
_SHARE = 0.25  # of the free memory that maps may fill
_NORMALIZED_BY = 32  # images


def context_card(segmenter: Segmenter, classes: int, config: ContextStageConfig) -> ContextCard:
    """The graph of a contextual CRF for a network.

    Args:
        segmenter: with the network that the potentials read. Without a head that is known by its name they read its
            logits.

    Raises:
        SegtoolError: the coarse map's stride does not fit the features'.
    """
    segmenter.network.eval()
    layer = last_layer(segmenter.network, classes)
    found = (
        None if layer is None else feature_size(segmenter.network, layer, segmenter.stride, segmenter.contract.channels)
    )
    size = found or FeatureSize(classes, 1)
    if config.stride % size.stride:
        what = f"the coarse map's stride of {config.stride} pixels is no multiple of the features', {size.stride}"
        raise SegtoolError(what, where="context.stride", mend=f"--set context.stride={size.stride}")
    return ContextCard(
        stride=config.stride,
        features=size.channels,
        feature_stride=size.stride,
        reads_logits=found is None,
        offsets=ring_offsets(config.radii),
        hidden=config.hidden,
        tables=config.tables,
        iterations=config.iterations,
    )


def new_context(segmenter: Segmenter, images: SegmentationDataset, config: ContextStageConfig) -> ContextualCRF:
    """A contextual CRF for a segmenter, and in it, with potentials of zero.

    Args:
        segmenter: wherever it lies.
        images: the features are normalised by some of them.
    """
    classes = len(images.classes)
    context = ContextualCRF(classes, context_card(segmenter, classes, config)).to(segmenter.mean.device)
    torch.nn.init.constant_(context.scale, config.scale)
    segmenter.context = context
    chosen = even_choice(len(images), _NORMALIZED_BY)
    context.potential.normalize_by(torch.cat([_features(segmenter, images, i)[0].flatten(1).T for i in chosen]))
    return context


class ContextMaps(Dataset):
    """Features of the places of whole images, float16 [F,h,w], and the labels of their pixels, uint8 [H,W].

    As in `UnaryCrops`, and for the same reasons, images are shown as they are. Maps are made once and kept; those that
    no memory is left for are made again each time.

    Args:
        images: the training images.
        segmenter: with a contextual CRF; its network makes the features, wherever it lies.
        copies: processes on this machine that each keep theirs.
    """

    def __init__(self, images: SegmentationDataset, segmenter: Segmenter, copies: int = 1) -> None:
        self._images, self._segmenter = images, segmenter
        self._kept: dict[int, ContextMap] = {}
        self._left = _SHARE * free_memory() / copies

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, key: int) -> ContextMap:
        index = key % len(self)
        if index in self._kept:
            return self._kept[index]
        features = _features(self._segmenter, self._images, index)[0].half().cpu()
        found = features, torch.from_numpy(self._images.load(index).labels)
        size = sum(part.numel() * part.element_size() for part in found)
        if size <= self._left:
            self._left -= size
            self._kept[index] = found
        return found


def collate_maps(maps: Sequence[ContextMap]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """A batch: images may differ in size, so each part stays by itself."""
    features, labels = zip(*maps, strict=True)
    return features, labels


@torch.no_grad()
def _features(segmenter: Segmenter, images: SegmentationDataset, index: int) -> Tensor:
    """Of the places of an image, [1,F,h,w]."""
    assert segmenter.context is not None
    image = image_tensor(images.load(index).image, segmenter.mean.device)
    return segmenter.context.places(segmenter.with_features(image)[1])
