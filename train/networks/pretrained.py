"""Pretrained weights: from the hub if it can be reached, or from a file."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor, nn

from segtool.errors import SegtoolError, SegtoolWarning
from segtool.train.networks.adapted import ENCODERS, body_of, part_of
from segtool.train.networks.matching import best_fit
from segtool.train.networks.state_dict import read_state_dict

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_MEND = "--set model.weights=FILE for weights of your own, --set model.weights=null to train from scratch"


def is_file(weights: str) -> bool:
    """Whether `model.weights` names a file rather than weights of the hub."""
    return weights.endswith(SUFFIXES) or Path(weights).expanduser().is_file()


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


def load_weights(network: nn.Module, path: Path, classes: int, *, whole: bool = False, new_head: bool = True) -> None:
    """Loads a file into the network, or into its encoder.

    Args:
        classes: of the network.
        whole: only into all of the network.
        new_head: whether a head for another number of classes in the file is left out, with a warning.

    Raises:
        SegtoolError: unreadable, or it does not fit.
    """
    put_weights(network, read_state_dict(path.expanduser()), path, classes, whole=whole, new_head=new_head)


def put_weights(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    where: Path,
    classes: int,
    *,
    whole: bool = False,
    new_head: bool = True,
) -> None:
    """`load_weights` of tensors that have been read from the file `where`."""
    body, encoder = body_of(network), part_of(network, ENCODERS)
    # An encoder may leave out what its library has behind the last features.
    attempts = [(body, best_fit(body, tensors, classes, whole=True))]
    if encoder is not None and not whole:
        attempts.append((encoder, best_fit(encoder, tensors, classes, whole=False)))
    part, fit = min(attempts, key=lambda attempt: len(attempt[1].problems))
    if fit.problems:
        raise SegtoolError(
            f"the weights {'do not fit the network' if whole else 'fit neither the network nor its encoder'}: "
            f"{fit.problems[0]} (and {len(fit.problems) - 1} more)",
            where=where,
            mend="choose the model.* settings that they were trained with",
        )
    if fit.other_classes:
        _tell_of_head(fit.other_classes, classes, where, new_head)
    part.load_state_dict(fit.state)


def _tell_of_head(theirs: int, classes: int, where: Path, new_head: bool) -> None:
    what = f"the weights are for {theirs} classes, the data have {classes}"
    if not new_head:
        mend = "a fresh head must be trained first: --stages unary,crf,joint"
        raise SegtoolError(what, where=where, mend=mend)
    warnings.warn(f"{what}; the head starts fresh, all else from {where}", SegtoolWarning, stacklevel=2)
