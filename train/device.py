"""Which device this process works on."""

import os

import torch


def device() -> torch.device:
    """The GPU that torchrun gave this process, or the first one; the processor where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")
