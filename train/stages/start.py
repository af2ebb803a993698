"""What a stage starts from: the best of the one before it, a file, or a new network."""

from collections.abc import Collection, Sequence
from pathlib import Path

from segtool.card import ClassInfo, ModelCard
from segtool.errors import SegtoolError
from segtool.input_contract import InputContract
from segtool.train.checkpoint import load_segmenter, model_config
from segtool.train.checkpoint_file import checkpoint_path, is_checkpoint, read_card
from segtool.train.config.settings import ModelConfig, TrainConfig
from segtool.train.config.stages import STAGES, Stage
from segtool.train.networks import Segmenter
from segtool.train.networks.network import build_network
from segtool.train.networks.pretrained import load_weights, put_weights


def check_order(
    stages: Sequence[Stage], done: Collection[str], start: Path | None, where: Path, begun: Collection[str] = ()
) -> None:
    """Whether each stage finds what it starts from.

    Args:
        stages: in the order in which they run.
        done: stages that have run before.
        start: a file that takes the place of what was trained before the first of them.
        where: the run folder.
        begun: stages that have run before, or were interrupted.

    Raises:
        SegtoolError: one does not, or it would leave out what a stage before it has trained.
    """
    wanted, available = {stage.name for stage in stages}, {*done}
    for stage in stages:
        from_file = start is not None and stage.before(wanted) is None
        if stage.previous and stage.before(available) is None and not from_file:
            needed = stage.previous[-1]
            mend = f"--stages {needed},{stage.name}, or --from CHECKPOINT"
            raise SegtoolError(f"stage {stage.name} needs stage {needed}", where=where, mend=mend)
        if from_file and stage.previous and (left_out := [s.name for s in stages if s.name in _before(stage)]):
            what = f"stage {stage.name} does not start from stage {left_out[-1]}, but from stage {stage.previous[0]}"
            mend = f"--stages {','.join([*left_out, stage.previous[0], stage.name])}"
            raise SegtoolError(what, where=where, mend=mend)
        available.add(stage.name)
    later = [name for name in ("crf", "joint") if name in {*done, *begun}]
    if later and "context" in wanted and "context" not in done:
        mend = "another --out, with --from this run"
        raise SegtoolError(f"stage {later[0]} was begun without stage context", where=where, mend=mend)


def _before(stage: Stage) -> set[str]:
    """All stages that one builds on, directly or not."""
    return {name for previous in stage.previous for name in (previous, *_before(STAGES[previous]))}


def start_of(
    stage: Stage,
    best: Path | None,
    start: Path | None,
    config: ModelConfig,
    classes: list[ClassInfo],
    contract: InputContract,
) -> Segmenter:
    """The segmenter that a stage starts from, without the CRFs that the stage makes or has no use for.

    Args:
        best: of the stage before it, in this run.
        start: a file that takes its place, see `start_from`; neither: a new network.
        contract: what images are; a checkpoint knows it.
    """
    if best is not None:
        segmenter = load_segmenter(best)[0]
    elif start is not None:
        new_head = not stage.previous  # the stage trains it
        segmenter = start_from(start, config, classes, contract, new_head=new_head)
    else:
        return Segmenter(build_network(config, len(classes), contract.channels), contract)
    if segmenter.crf is not None:
        segmenter.crf.temperature = 1.0  # the loss is that of Q_T; each stage ends with a temperature of its own
    if not stage.crf:
        segmenter.context = None
    if not (stage.network and stage.crf):  # without a CRF, or with one that is searched first
        segmenter.crf = None
    elif segmenter.crf is None:
        raise SegtoolError("there is no CRF to start stage joint from", where=start, mend="--stages crf,joint")
    return segmenter


def start_from(
    path: Path, config: ModelConfig, classes: list[ClassInfo], contract: InputContract, *, new_head: bool = False
) -> Segmenter:
    """The segmenter that a run starts from.

    Args:
        path: a run folder, a checkpoint (its network is taken as it is, whatever `config` says), or a state_dict of
            the whole network that `config` describes: .safetensors, or from torch.save.
        classes: of the data.
        new_head: whether a head for another number of classes is replaced by a fresh one, with a warning.

    Raises:
        SegtoolError: unreadable, for other classes, or it does not fit.
    """
    if is_checkpoint(path):
        return _start_from_checkpoint(path, classes, contract, new_head)
    if not path.exists():
        raise SegtoolError("no such file", where=path, mend="--from RUN, CHECKPOINT or STATE_DICT")
    network = build_network(config.model_copy(update={"weights": None}), len(classes), contract.channels)
    load_weights(network, path, len(classes), whole=True, new_head=new_head)
    return Segmenter(network, contract)


def _start_from_checkpoint(path: Path, classes: list[ClassInfo], contract: InputContract, new_head: bool) -> Segmenter:
    segmenter, card = load_segmenter(path)
    if (card.input.bands, card.input.kind) != (contract.bands, contract.kind):
        mend = f"a checkpoint for {_images(contract)}; weights for pictures: --set model.weights=FILE"
        raise SegtoolError(f"the checkpoint is for {_images(card.input)}", where=path, mend=mend)
    segmenter.contract = contract  # the checkpoint's own, but for what settings say is shown and guides the CRF
    names = [c.name for c in classes]
    if card.names == names:
        return segmenter
    if new_head and len(names) != len(card.names):
        return _with_new_head(segmenter, card, path, len(names))
    raise SegtoolError(
        f"the checkpoint has the classes {_listed(card.names)}, the data {_listed(names)}",
        where=path,
        mend="start from a checkpoint for the same classes, or with stage unary from one for another number of them",
    )


def _with_new_head(segmenter: Segmenter, card: ModelCard, path: Path, classes: int) -> Segmenter:
    network = build_network(model_config(card).model_copy(update={"weights": None}), classes, card.input.channels)
    put_weights(network, segmenter.network.state_dict(), path, classes, whole=True)
    return Segmenter(network, segmenter.contract)


def with_network_of(path: Path | None, config: TrainConfig) -> TrainConfig:
    """The configuration with the network of the checkpoint that a run starts from, if it starts from one."""
    if path is None or not is_checkpoint(path):
        return config
    network = model_config(read_card(checkpoint_path(path)))
    return config.model_copy(update={"model": network.model_copy(update={"weights": None})})


def _images(contract: InputContract) -> str:
    if contract.bands is None:
        return "pictures"
    return f"the bands {', '.join(map(str, contract.bands))} of {contract.kind}"


def _listed(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
