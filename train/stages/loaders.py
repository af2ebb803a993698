"""The batches of a stage."""

import os
from typing import Any

from torch.utils.data import DataLoader, Dataset

from segtool.data import SegmentationDataset
from segtool.train.augmentation import TrainingCrops, WholeImages
from segtool.train.config.settings import TrainConfig
from segtool.train.config.stages import Stage
from segtool.train.device import device
from segtool.train.distributed import local_world, rank, world
from segtool.train.networks import Segmenter
from segtool.train.seeds import EpochSampler
from segtool.train.stages.context_maps import ContextMaps, collate_maps
from segtool.train.stages.unary_crops import UnaryCrops


def training_batches(
    stage: Stage, config: TrainConfig, images: SegmentationDataset, segmenter: Segmenter, batch_size: int
) -> DataLoader:
    """Batches of augmented crops, or where the network is fixed of what it makes of the images.

    Args:
        batch_size: of this process; at most its share of the images is taken.
    """
    sampler = EpochSampler(len(images), config.seed, rank(), world())
    size = min(batch_size, max(1, len(sampler)))
    if stage.network:
        crops: Dataset = TrainingCrops(images, config.data, config.seed, segmenter.contract)
        return DataLoader(crops, size, sampler=sampler, drop_last=True, **_settings(worker_count(config)))
    # The fixed network runs where it lies, in this process.
    segmenter.network.eval()
    if stage.by_edges:
        maps = ContextMaps(images, segmenter, local_world())
        return DataLoader(maps, size, sampler=sampler, drop_last=True, collate_fn=collate_maps, **_settings(0))
    crops = unary_crops(config, images, segmenter)
    return DataLoader(crops, size, sampler=sampler, drop_last=True, **_settings(0))


def unary_crops(config: TrainConfig, images: SegmentationDataset, segmenter: Segmenter) -> UnaryCrops:
    """What the dense CRF learns from."""
    segmenter.network.eval()
    return UnaryCrops(images, segmenter, config.crf.crop, config.seed)


def validation_batches(config: TrainConfig, images: SegmentationDataset) -> DataLoader:
    """Whole images, one at a time: they may differ in size."""
    whole = WholeImages(images, config.data.validation_images, rank(), world())
    return DataLoader(whole, 1, **_settings(min(2, worker_count(config))))


def worker_count(config: TrainConfig) -> int:
    """Processes that read and augment."""
    if config.data.workers is not None:
        return config.data.workers
    # None where the processor also trains.
    return 0 if device().type == "cpu" else min(8, len(os.sched_getaffinity(0)))


def _settings(workers: int) -> dict[str, Any]:
    settings: dict[str, Any] = {"num_workers": workers, "pin_memory": device().type == "cuda"}
    return settings | ({"persistent_workers": True, "prefetch_factor": 4} if workers else {})
