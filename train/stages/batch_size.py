"""`data.batch_size=auto`: how many crops fit into a device's memory."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from segtool.bands import from_picture
from segtool.drawing import smooth_noise
from segtool.train import distributed
from segtool.train.cache import free_memory
from segtool.train.config.settings import TrainConfig
from segtool.train.device import device
from segtool.train.module import StageModule

_SHARE = 0.7  # of the memory that a step may fill
_WORK = 2.0  # a step's memory over what it saves for the backward pass
_STATES = 4  # copies of the weights: themselves, gradients, two moments
_MOST = {"cuda": 64, "cpu": 16}  # beyond, nothing gets faster


def batch_size_of(
    module: StageModule, config: TrainConfig, images: int, begun: dict[str, int], tell: Callable[[str], None]
) -> int:
    """Crops in a batch of a stage, as the settings say; where they say auto, what fits on all devices.

    Args:
        images: training images of this process.
        begun: of each stage what was chosen; a resumed one goes on with it. A new choice is added.
        tell: receives a line about a new choice.
    """
    size, stage = config.data.batch_size, module.stage.name
    if not module.stage.network:
        return (config.context if module.stage.by_edges else config.crf).batch_size
    if size != "auto":
        return size
    if stage not in begun:
        begun[stage] = min(distributed.gathered(choose_batch_size(module, config.data.crop, images)))
        tell(f"{stage}: batch size {begun[stage]} on each of {distributed.world()} devices")
    return begun[stage]


def choose_batch_size(module: StageModule, crop: tuple[int, int], images: int) -> int:
    """The largest power of two whose training step fits, from what one crop saves in the stage's own forward pass.

    Args:
        module: of a stage that trains the network.
        crop: height, width in pixels.
        images: in the training split of this process; a batch is not larger.
    """
    bytes_each = saved_bytes(module, crop) * _WORK
    weights = _STATES * sum(p.numel() * p.element_size() for p in module.segmenter.parameters())
    fitting = int((_SHARE * _free() - weights) / max(bytes_each, 1))
    most = min(fitting, _MOST[device().type], images)
    return 1 << max(0, most.bit_length() - 1)


def saved_bytes(module: StageModule, crop: tuple[int, int]) -> int:
    """Bytes that one crop's forward pass through network, CRF and loss keeps for the backward pass, weights not
    counted."""
    known = {p.data_ptr() for p in module.segmenter.parameters()}
    found: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in known:
            found[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    # Two: batch norm of a single value is refused. Noise: a flat picture would have hardly any lattice.
    noise = from_picture(smooth_noise(*crop), module.segmenter.contract)
    crops = torch.from_numpy(noise).permute(2, 0, 1).float().repeat(2, 1, 1, 1)
    labels = torch.zeros(2, *crop, dtype=torch.long)
    before = {k: v.clone() for k, v in module.segmenter.state_dict().items()}
    with saved_tensors_hooks(count, lambda tensor: tensor):
        loss = module.loss((crops, labels))
    total = sum(found.values()) // 2
    del loss
    module.segmenter.load_state_dict(before)  # batch norm has seen two pictures of nothing
    return total


def _free() -> int:
    if device().type == "cuda":
        return int(torch.cuda.mem_get_info(device())[0])
    return free_memory()
