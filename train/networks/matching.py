"""Finding the names under which weights fit a network: wrappers and libraries put prefixes before them."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from segtool.train.networks.channels import fits_but_for_channels, spread

_CLASSIFIERS = ("fc.", "classifier.", "head.", "_fc.", "last_linear.")  # of the ImageNet classes
# Of DataParallel, Lightning, timm, averages of weights, and of segtool's own modules.
_WRAPPERS = (
    "module.", "model.", "network.", "net.", "segmenter.", "body.", "ema.", "ema_model.", "model_ema.", "encoder.",
    "backbone.",
)  # fmt: skip
_INSIDE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")  # of compiled and sharded modules
_BESIDES = (*_CLASSIFIERS, "crf.", "criterion.", "loss.", "n_averaged")  # what may lie beside a network's weights
_MOST_NAMINGS = 64

Tensors = dict[str, Tensor]


class Fit(NamedTuple):
    """How tensors fit a module.

    Attributes:
        state: what it can load.
        problems: what does not fit.
        other_classes: the classes of a head in the tensors that is for another number of them; 0 if there is none.
            The head in `state` is the module's own then.
    """

    state: Tensors
    problems: list[str]
    other_classes: int = 0


def best_fit(part: nn.Module, tensors: Mapping[str, Tensor], classes: int, *, whole: bool) -> Fit:
    """The tensors under the names with which they fit best.

    Args:
        classes: of the network.
        whole: whether all tensors must belong to it.
    """
    wanted = part.state_dict()
    fits = (_fit(named, wanted, classes, whole) for named in _namings(tensors, wanted))
    best = Fit({}, [f"{name} is missing" for name in wanted])
    for fit in fits:
        if len(fit.problems) < len(best.problems):
            best = fit
        if not best.problems:
            break
    return best


def _fit(named: Tensors, wanted: Tensors, classes: int, whole: bool) -> Fit:
    named = {k: spread(v, wanted[k].shape[1]) if _for_pictures(v, wanted.get(k)) else v for k, v in named.items()}
    state = {k: v for k, v in named.items() if k in wanted and v.shape == wanted[k].shape}
    # Counters of batch norm are not in every file, and only matter without momentum.
    state |= {k: v for k, v in wanted.items() if k.endswith("num_batches_tracked") and k not in state}
    problems = [f"{k} is missing" for k in wanted if k not in state and k not in named]
    if whole:
        problems += [f"{k} is not part of it" for k in named if k not in wanted and not k.startswith(_BESIDES)]
    misshapen = [k for k in wanted if k not in state and k in named]
    other = _other_classes([(wanted[k], named[k]) for k in misshapen], classes) if whole else 0
    if other:
        return Fit({**state, **{k: wanted[k] for k in misshapen}}, problems, other)
    return Fit(state, problems + [f"{k} has another shape" for k in misshapen])


def _for_pictures(theirs: Tensor, ours: Tensor | None) -> bool:
    return ours is not None and fits_but_for_channels(theirs, ours)


def _other_classes(pairs: list[tuple[Tensor, Tensor]], classes: int) -> int:
    """For how many classes the second tensors are, if each differs from the first in the axis of classes alone; else 0.

    Heads of mask queries have one class more, for "no object".
    """
    found = set()
    for ours, theirs in pairs:
        axes = [axis for axis in range(min(ours.ndim, theirs.ndim)) if ours.shape[axis] != theirs.shape[axis]]
        if ours.ndim != theirs.ndim or len(axes) != 1 or ours.shape[axes[0]] not in (classes, classes + 1):
            return 0
        found.add(classes + theirs.shape[axes[0]] - ours.shape[axes[0]])
    return found.pop() if len(found) == 1 else 0


def _namings(tensors: Mapping[str, Tensor], wanted: Tensors) -> Iterator[Tensors]:
    """As they are; without prefixes of wrappers, in any order; or with the prefix that all wanted names share."""
    first = next(iter(wanted), "").partition(".")[0] + "."
    shared = all(k.startswith(first) for k in wanted)
    waiting, seen = deque([_unwrapped_inside(tensors)]), set[frozenset[str]]()
    while waiting and len(seen) < _MOST_NAMINGS:
        named = waiting.popleft()
        if frozenset(named) in seen:
            continue
        seen.add(frozenset(named))
        yield named
        if shared:
            yield {k if k.startswith(_CLASSIFIERS) else first + k: v for k, v in named.items()}
        for prefix in _WRAPPERS:
            if any(k.startswith(prefix) for k in named):
                waiting.append({k.removeprefix(prefix): v for k, v in named.items() if k.startswith(prefix)})


def _unwrapped_inside(tensors: Mapping[str, Tensor]) -> Tensors:
    named = dict(tensors)
    for wrapper in _INSIDE:
        named = {k.replace(wrapper, ""): v for k, v in named.items()}
    return named
