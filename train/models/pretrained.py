"""Pretrained weights: from the hub if it can be reached, or from a file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from segtool.errors import SegtoolError
from segtool.train.models.adapted import ENCODERS, body_of, part_of

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_CLASSIFIERS = ("fc.", "classifier.", "head.", "_fc.", "last_linear.")  # of the ImageNet classes
_WRAPPERS = ("module.", "model.", "network.", "net.", "segmenter.network.")  # of DataParallel, Lightning, timm, ...
_MEND = "--set model.weights=FILE for weights of your own, --set model.weights=null to train from scratch"


def is_file(weights: str) -> bool:
    """Whether `model.weights` names a file rather than weights of the hub."""
    return weights.endswith(SUFFIXES) or Path(weights).is_file()


@contextmanager
def from_hub(what: str) -> Iterator[None]:
    """Loading from the hub; offline, only what was fetched before.

    Raises:
        SegtoolError: offline and not fetched before; in seconds, not after minutes of retries.
    """
    from huggingface_hub import constants

    before, reachable = constants.HF_HUB_OFFLINE, _reachable(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = before or not reachable
    try:
        yield
    except OSError as error:
        reason = f"could not be downloaded ({str(error).splitlines()[0]})" if reachable else "cannot be had offline"
        raise SegtoolError(f"{what} {reason}", where="model.weights", mend=_MEND) from error
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable(address: str) -> bool:
    from huggingface_hub import get_session

    try:
        get_session().head(address, timeout=5)
    except Exception:  # of whichever HTTP library the hub uses
        return False
    return True


def load_weights(network: nn.Module, path: Path, *, whole: bool = False) -> None:
    """Loads a file into the network, or into its encoder.

    Args:
        whole: only into all of the network.

    Raises:
        SegtoolError: unreadable, or it does not fit.
    """
    tensors = read_state_dict(path)
    body, encoder = body_of(network), part_of(network, ENCODERS)
    # An encoder may leave out what its library has behind the last features.
    attempts = [(body, *_fitting(body, tensors, whole=True))]
    if encoder is not None and not whole:
        attempts.append((encoder, *_fitting(encoder, tensors, whole=False)))
    part, state, missing = min(attempts, key=lambda attempt: len(attempt[2]))
    if missing:
        raise SegtoolError(
            f"the weights fit {'not the network' if whole else 'neither the network nor its encoder'}: {missing[0]} "
            f"(and {len(missing) - 1} more)",
            where=path,
            mend="choose the model.* settings that they were trained with",
        )
    part.load_state_dict(state)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of one that torch.save wrote; nothing in it is executed.

    Raises:
        SegtoolError: unreadable, or it holds more than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of safetensors, pickle or zip; what they say of other files is no help
        more = "it holds more than tensors" if "Unsupported" in str(error) else type(error).__name__
        raise SegtoolError(
            f"not readable as weights ({more})",
            where=path,
            mend="a state_dict saved by torch.save, or .safetensors",
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise SegtoolError("no weights in it", where=path, mend="a state_dict saved by torch.save, or .safetensors")
    return tensors


def _fitting(part: nn.Module, tensors: Mapping[str, Tensor], whole: bool) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under the names of `part`, and what does not fit. Prefixes of wrappers come and go.

    Args:
        whole: whether all tensors must belong to it.
    """
    wanted = part.state_dict()
    best: tuple[dict[str, Tensor], list[str]] = ({}, [f"{name} is missing" for name in wanted])
    for renamed in _renamed(tensors, wanted):
        state = {k: v for k, v in renamed.items() if k in wanted and v.shape == wanted[k].shape}
        # Counters of batch norm are not in every file, and only matter without momentum.
        state |= {k: v for k, v in wanted.items() if k.endswith("num_batches_tracked") and k not in state}
        problems = [_problem(name, renamed) for name in wanted if name not in state]
        problems += [f"{k} is not part of it" for k in renamed if whole and k not in wanted and not _is_classifier(k)]
        if len(problems) < len(best[1]):
            best = state, problems
    return best


def _problem(name: str, tensors: Mapping[str, Tensor]) -> str:
    return f"{name} has another shape" if name in tensors else f"{name} is missing"


def _is_classifier(name: str) -> bool:
    return name.startswith(_CLASSIFIERS)


def _renamed(tensors: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> Iterator[dict[str, Tensor]]:
    """As they are, without the prefix of a wrapper, or with the prefix that all wanted names share."""
    yield dict(tensors)
    for prefix in _WRAPPERS:
        if any(k.startswith(prefix) for k in tensors):
            yield {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    first = next(iter(wanted), "").partition(".")[0] + "."
    if all(k.startswith(first) for k in wanted):
        yield {k if _is_classifier(k) else first + k: v for k, v in tensors.items()}
