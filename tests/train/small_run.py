"""A trainer of a run that takes seconds."""

from segtool.train.config.presets import load_config
from segtool.train.stages.piecewise import PiecewiseTrainer

from ..conftest import TINY


def trainer(out, *overrides, stages=("unary",), data="synthetic:64", resume=False):
    """Prepared, and ready to run."""
    config = load_config("quickstart", [*TINY, *overrides])
    made = PiecewiseTrainer(config, data, out, list(stages), resume=resume, report=lambda line: None)
    made.prepare()
    return made
