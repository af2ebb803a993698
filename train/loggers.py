"""Where training logs to: TensorBoard always, W&B and MLflow where they are asked for. The CSV is history.csv."""

import os
from importlib.util import find_spec
from pathlib import Path

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from segtool.errors import SegtoolError
from segtool.train.config.settings import TrainConfig

PROJECT = "segtool"


def check_loggers(config: TrainConfig) -> None:
    """Refuses loggers that are not installed, before anything else is done.

    Raises:
        SegtoolError: one is not installed.
    """
    for name in config.loggers:
        if find_spec(name) is None:
            raise SegtoolError(f"{name} is not installed", where="loggers", mend=f"pip install {name}")


def build_loggers(config: TrainConfig, out: Path, stage: str, run: str) -> list[Logger]:
    """The loggers of a stage; each run is named after its folder.

    Args:
        run: its identifier, so that a resumed run goes on in the same place.
    """
    loggers: list[Logger] = [TensorBoardLogger(str(out), name="logs", version=stage)]
    name = f"{out.resolve().name}/{stage}"
    if "wandb" in config.loggers:
        settings = config.model_dump(mode="json")
        loggers.append(WandbLogger(name=name, id=f"{run}-{stage}", project=PROJECT, save_dir=out, config=settings))
    if "mlflow" in config.loggers:
        # A database in the run folder, unless a server is set up; MLflow 3 writes to no plain folder any more.
        address = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{out.resolve() / 'mlflow.db'}")
        loggers.append(MLFlowLogger(PROJECT, run_name=name, tracking_uri=address))
    return loggers
