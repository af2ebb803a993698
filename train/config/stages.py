"""The stages of training, as one table: what each trains, and from what it starts."""

from typing import Literal, NamedTuple

from segtool.errors import SegtoolError
from segtool.suggest import unknown
from segtool.train.config.settings import StageConfig, TrainConfig

StageName = Literal["unary", "crf", "joint", "control"]


class Stage(NamedTuple):
    """What a stage does.

    A stage that trains the network sees augmented crops; one that trains the CRF alone, crops of the fixed network's
    logits. The loss is that of Q_T where the CRF is trained, else that of the network's logits; where both are, that of
    the logits is added.

    Attributes:
        name: of the stage.
        previous: the stage whose best it starts from; None: a new network.
        settings: the part of the configuration that it follows.
        network: whether the network is trained.
        crf: whether the CRF is trained.
    """

    name: StageName
    previous: StageName | None
    settings: Literal["unary", "crf", "joint"]
    network: bool
    crf: bool

    def config(self, config: TrainConfig) -> StageConfig:
        """Its part of the configuration."""
        found: StageConfig = getattr(config, self.settings)
        return found


_TABLE = (
    Stage("unary", None, "unary", network=True, crf=False),
    Stage("crf", "unary", "crf", network=False, crf=True),
    Stage("joint", "crf", "joint", network=True, crf=True),
    # As `joint` trains it, but without a CRF: what more epochs alone would have gained.
    Stage("control", "unary", "joint", network=True, crf=False),
)
# In the order in which they run.
STAGES: dict[StageName, Stage] = {stage.name: stage for stage in _TABLE}


def parse_stages(text: str) -> list[StageName]:
    """Reads `unary,crf,joint` (any of them, and `control`), in the order in which they must run."""
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in STAGES:
            raise unknown("stage", name, STAGES)
    if not set(wanted) - {"control"}:
        raise SegtoolError("--stages needs at least one of unary, crf, joint", where=text)
    return [name for name in STAGES if name in wanted]
