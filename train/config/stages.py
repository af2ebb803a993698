"""The stages of training, as one table: what each trains, and from what it starts."""

from collections.abc import Collection
from typing import Literal, NamedTuple

from segtool.errors import SegtoolError
from segtool.suggest import unknown
from segtool.train.config.settings import StageConfig, StageName, TrainConfig


class Stage(NamedTuple):
    """What a stage does.

    A stage that trains the network sees augmented crops. One that trains the dense CRF alone sees crops of the logits
    that the fixed parts before it give, and one that trains the contextual CRF alone the features of the fixed network.
    The loss is that of Q_T where the dense CRF is trained, that of edges where the contextual CRF is trained without
    it, and else that of the network's logits; where the network is trained with a CRF, that of its logits is added.

    Attributes:
        name: of the stage.
        previous: it starts from the best of the first of these that has run; none: from a new network.
        settings: the part of the configuration that it follows.
        network, context, crf: whether it trains the network, the contextual CRF (if there is one), the dense CRF.
    """

    name: StageName
    previous: tuple[StageName, ...]
    settings: Literal["unary", "context", "crf", "joint"]
    network: bool
    context: bool
    crf: bool

    @property
    def by_edges(self) -> bool:
        """Whether the contextual CRF learns edge by edge, without inference."""
        return self.context and not self.crf

    def config(self, config: TrainConfig) -> StageConfig:
        """Its part of the configuration."""
        found: StageConfig = getattr(config, self.settings)
        return found

    def before(self, done: Collection[str]) -> StageName | None:
        """The stage that it starts from, of those that have run."""
        return next((name for name in self.previous if name in done), None)


_TABLE = (
    Stage("unary", (), "unary", network=True, context=False, crf=False),
    Stage("context", ("unary",), "context", network=False, context=True, crf=False),
    Stage("crf", ("context", "unary"), "crf", network=False, context=False, crf=True),
    Stage("joint", ("crf",), "joint", network=True, context=True, crf=True),
    # As `joint` trains it, but without a CRF: what more epochs alone would have gained.
    Stage("control", ("unary",), "joint", network=True, context=False, crf=False),
)
# In the order in which they run.
STAGES: dict[StageName, Stage] = {stage.name: stage for stage in _TABLE}


def stage_of(name: StageName, config: TrainConfig) -> Stage:
    """A stage as a configuration has it: `context` may train the network too."""
    stage = STAGES[name]
    return stage._replace(network=stage.network or (name == "context" and config.context.train_network))


def parse_stages(text: str) -> list[StageName]:
    """Reads `unary,context,crf,joint` (any of them, and `control`), in the order in which they must run."""
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in STAGES:
            raise unknown("stage", name, STAGES)
    return in_order(wanted, text)


def in_order(wanted: Collection[str], where: object) -> list[StageName]:
    """Stages in the order in which they must run."""
    if not set(wanted) - {"control"}:
        raise SegtoolError("--stages needs at least one of unary, context, crf, joint", where=where)
    return [name for name in STAGES if name in wanted]
