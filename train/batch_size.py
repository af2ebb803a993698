"""`data.batch_size=auto`: how many crops fit into a device's memory."""

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from segtool.train.config import TrainConfig
from segtool.train.data.cache import free_memory
from segtool.train.device import device
from segtool.train.losses import SegmentationLoss
from segtool.train.models import Segmenter

_SHARE = 0.7  # of the memory that a step may fill
_WORK = 2.0  # a step's memory over what it saves for the backward pass
_STATES = 4  # copies of the weights: themselves, gradients, two moments
_MOST = {"cuda": 64, "cpu": 16}  # beyond, nothing gets faster


def choose_batch_size(config: TrainConfig, segmenter: Segmenter, criterion: SegmentationLoss, images: int) -> int:
    """The largest power of two whose training step fits, from what one crop's forward pass saves.

    Args:
        images: in the training split of this process; a batch is not larger.
    """
    bytes_each = saved_bytes(config, segmenter, criterion) * _WORK
    weights = _STATES * sum(p.numel() * p.element_size() for p in segmenter.parameters())
    fitting = int((_SHARE * _free() - weights) / max(bytes_each, 1))
    most = min(fitting, _MOST[device().type], images)
    return 1 << max(0, most.bit_length() - 1)


def saved_bytes(config: TrainConfig, segmenter: Segmenter, criterion: SegmentationLoss) -> int:
    """Bytes that one crop's forward pass keeps for the backward pass, weights not counted."""
    known = {p.data_ptr() for p in segmenter.parameters()}
    found: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in known:
            found[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    crops = torch.zeros(2, 3, *config.data.crop)  # two: batch norm of a single value is refused
    labels = torch.zeros(2, *config.data.crop, dtype=torch.long)
    before = {k: v.clone() for k, v in segmenter.state_dict().items()}
    with saved_tensors_hooks(count, lambda tensor: tensor):
        loss = criterion(segmenter.unary(crops), labels)
    total = sum(found.values()) // 2
    del loss
    segmenter.load_state_dict(before)  # batch norm has seen two black pictures
    return total


def _free() -> int:
    if device().type == "cuda":
        return int(torch.cuda.mem_get_info(device())[0])
    return free_memory()
