"""Reading weights that something else saved. Nothing in a file is executed."""

import argparse
import pathlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from segtool.errors import SegtoolError
from segtool.impostors import impostor

# Of the CRFs' tensors in a checkpoint of segtool's; those of the network keep their names.
CONTEXT_PREFIX, CRF_PREFIX = "segtool.context.", "segtool.crf."
_MEND = "a state_dict saved by torch.save, or .safetensors"
# Under which trainers keep the state_dict; averages last, for where both are there the other is what was asked for.
_CONTAINERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "params", "weights", "module",
    "state_dict_ema", "ema_state_dict", "model_ema", "ema",
)  # fmt: skip
_SCALAR: Any = np.float64(0).__reduce__()[0]
# Data without behaviour that trainers keep beside it: their arguments, scores and paths.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    pathlib.PosixPath,
    (_SCALAR, "numpy._core.multiarray.scalar"),  # since numpy 2
    (_SCALAR, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.bool_)),
]


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of one that torch.save wrote; of a checkpoint of segtool's the network's.

    Raises:
        SegtoolError: unreadable, no weights at all, or objects in it that only code could make again.
    """
    if (other := impostor(path)) is not None:
        raise other
    content = _read(path)
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    found = content.items() if isinstance(content, Mapping) else ()
    tensors = {k: v for k, v in found if isinstance(v, Tensor) and not str(k).startswith((CONTEXT_PREFIX, CRF_PREFIX))}
    if not tensors:
        raise SegtoolError("no weights in it", where=path, mend=_MEND)
    return tensors


def load_harmless(path: Path) -> Any:
    """What torch.save wrote, on the processor: tensors, containers and numbers. No code in the file is run.

    Raises:
        Exception: of pickle or zip, whatever they stumble over, also objects that only code could make again.
    """
    with torch.serialization.safe_globals(_HARMLESS):
        return torch.load(path, map_location="cpu", weights_only=True)


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return load_harmless(path)
    except FileNotFoundError as error:
        raise SegtoolError("no such file", where=path, mend=_MEND) from error
    except Exception as error:  # of safetensors, pickle or zip
        raise SegtoolError(f"not readable as weights ({why_unreadable(error)})", where=path, mend=_MEND) from error


def why_unreadable(error: Exception) -> str:
    """What `load_harmless` raised, in words: PyTorch's own advise to run the code in the file."""
    more = "it holds more than tensors" if "Unsupported" in str(error) else type(error).__name__
    if unsupported := re.search(r"GLOBAL ([\w.]+)", str(error)):
        more += f", {unsupported[1]}, which only code could make again"
    return more
