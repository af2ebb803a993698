"""What is checked before the first step of a run: the machine, and the step itself."""

from collections.abc import Sequence

import torch

from segtool.errors import SegtoolError
from segtool.train import distributed
from segtool.train.config.settings import StageName, TrainConfig
from segtool.train.config.stages import Stage
from segtool.train.device import device
from segtool.train.networks import Segmenter
from segtool.train.stages.context_maps import context_card

_ONE_VALUE = "Expected more than 1 value per channel"  # batch norm's refusal


def try_stages(segmenter: Segmenter, config: TrainConfig, stages: Sequence[Stage], classes: int, images: int) -> None:
    """Shows the network a batch as `try_network` does, and then whether contextual maps can be built on it.

    Raises:
        SegtoolError: one of them fails.
    """
    try_network(segmenter, config, [stage.name for stage in stages], classes, images)
    if any(stage.by_edges for stage in stages):
        context_card(segmenter, classes, config.context)


@torch.no_grad()
def try_network(
    segmenter: Segmenter, config: TrainConfig, stages: Sequence[StageName], classes: int, images: int
) -> None:
    """Shows the network a batch like those it will see. Its statistics are not the same after that.

    Args:
        stages: to come.
        classes: C of the logits that are wanted.
        images: training images of this process.

    Raises:
        SegtoolError: it fails, it gives no logits [N,C,H,W], or its batch norm cannot learn from a batch of one.
    """
    size = images if config.data.batch_size == "auto" else config.data.batch_size
    # On several GPUs batch norm is synchronised: it sees the crops of all processes.
    fewest = 2 if distributed.world() > 1 and torch.cuda.is_available() else 1
    shown = torch.zeros(
        max(fewest, min(size, images, 2)), segmenter.contract.channels, *config.data.crop, device=device()
    )
    segmenter.to(device()).train(_batch_norm_learns(config, stages))
    try:
        logits = segmenter.unary(shown)
    except SegtoolError:
        raise
    except Exception as error:  # of a library's network, or the user's
        raise _failure(error, len(shown), images) from error
    if logits.shape[1] != classes:
        what = f"the network gives logits for {logits.shape[1]} classes, the data have {classes}"
        raise SegtoolError(what, where="model", mend="correct model.options, or the network's code")


def check_share(images: int, processes: int) -> None:
    """Refuses more processes than training images: some would have nothing to do."""
    if images < processes:
        what = f"{images} training images for {processes} processes"
        raise SegtoolError(what, where="data", mend=f"start at most {images} processes")


def check_precision(config: TrainConfig) -> None:
    """Refuses a precision that cannot run here."""
    if config.precision == "16-mixed" and not torch.cuda.is_available():
        raise SegtoolError("16-mixed needs a GPU", where="precision", mend="--set precision=bf16-mixed")


def _batch_norm_learns(config: TrainConfig, stages: Sequence[StageName]) -> bool:
    later = not config.joint.freeze_batch_norm and bool({"joint", "control"} & {*stages})
    return "unary" in stages or later or ("context" in stages and config.context.train_network)


def _failure(error: Exception, batch: int, images: int) -> SegtoolError:
    if batch == 1 and _ONE_VALUE in str(error):
        mend = "--set data.batch_size=2 or more" if images > 1 else "add training images: a batch holds each once"
        what = "the network's batch norm cannot learn from batches of one"
        return SegtoolError(what, where="data.batch_size", mend=mend)
    reason = " ".join(str(error).split())[:200]
    return SegtoolError(
        f"the network fails on a training crop, {type(error).__name__}: {reason}",
        where="model",
        mend="correct model.options or data.crop; --debug shows the traceback",
    )
