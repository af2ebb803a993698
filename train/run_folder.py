"""A run folder and what it remembers.

It holds config.yaml, state.json (what is done, with scores), history.jsonl and history.csv, log.txt, and for each
stage `STAGE/best.safetensors`, `STAGE/last.ckpt` and `STAGE/previous.ckpt`; at the end model.safetensors, the best of
the last stage.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import yaml
from pydantic import BaseModel, Field, ValidationError

from segtool.card import ValidationScores
from segtool.crf.layer import KernelWidths
from segtool.errors import SegtoolError
from segtool.files import ensure_folder, write_text
from segtool.stored import misfit
from segtool.train.config.extension import extended_stages
from segtool.train.config.settings import StageName, TrainConfig
from segtool.train.config.stages import STAGES

Stored = TypeVar("Stored", bound=BaseModel)

# What a run writes, besides a folder for each stage.
_WRITTEN = (
    "config.yaml", "history.jsonl", "history.csv", "log.txt", "logs", "evaluation", "curves.png", "progress.gif",
    "snapshots", "model.safetensors", "mlflow.db",
)  # fmt: skip
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"  # of each stage: the state of training after an epoch, and the one before
_FORMAT = 3  # older ones trained otherwise, and must not be mixed with those of today; 1 had none


class RunState(BaseModel):
    """state.json: what a run has done."""

    format: int = _FORMAT
    id: str = Field(default_factory=lambda: uuid4().hex[:12])  # for loggers that know many runs
    data: str
    start: str | None = None  # the file that it started from
    done: dict[str, ValidationScores] = {}
    search: list[dict[str, Any]] = []
    widths: KernelWidths | None = None
    weights: tuple[float, float] | None = None
    batch_sizes: dict[str, int] = {}  # of each stage, where data.batch_size is auto


class RunFolder:
    """Paths and state of a run.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history, self.log_file = path / "history.jsonl", path / "log.txt"

    def best(self, stage: StageName) -> Path:
        """The checkpoint of a stage's best validation."""
        return self.path / stage / "best.safetensors"

    def find(self, config: TrainConfig, data: str, start: str | None, resume: bool) -> RunState | None:
        """The state of the run in the folder, None if there is none.

        Stages that now have more epochs than they were begun with are not done in it.

        Raises:
            SegtoolError: there is another run, or one that is not to be resumed, or files of somebody else's that a
                run would overwrite.
        """
        if not (self.path / "state.json").is_file():
            self._check_foreign()
            return None
        if not resume:
            raise SegtoolError("the folder already holds a run", where=self.path, mend="--resume, or another --out")
        self._check_format()
        state, saved = self._read(RunState, "state.json"), self._read(TrainConfig, "config.yaml")
        if (state.data, state.start) != (data, start):
            was = f"--data {state.data}" + (f" --from {state.start}" if state.start else "")
            what = "the run was started with other settings or data"
            raise SegtoolError(what, where=self.path / "state.json", mend=f"resume with {was}")
        longer = extended_stages(saved, config, self.begun(state), self.path / "config.yaml")
        return state.model_copy(update={"done": {k: v for k, v in state.done.items() if k not in longer}})

    def begun(self, state: RunState) -> set[str]:
        """The stages that have run, or were interrupted."""
        searched = {"crf"} if state.widths is not None else set()
        interrupted = {stage for stage in STAGES if any((self.path / stage / n).is_file() for n in (LAST, PREVIOUS))}
        return {*state.done, *interrupted, *searched}

    def _check_foreign(self) -> None:
        taken = [name for name in (*_WRITTEN, *STAGES) if (self.path / name).exists()]
        if taken:
            what = f"the folder holds no run, but {', '.join(taken)}, which a run would overwrite"
            raise SegtoolError(what, where=self.path, mend="another --out")

    def _check_format(self) -> None:
        path = self.path / "state.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8")).get("format", 1)
        except (OSError, ValueError, AttributeError):
            return  # what is wrong is said by who reads it
        if found != _FORMAT:
            what = "the run was begun by another version of segtool, which trains otherwise"
            raise SegtoolError(what, where=path, mend="another --out, with --from one of its checkpoints")

    def _read(self, kind: type[Stored], name: str) -> Stored:
        path = self.path / name
        try:
            return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise misfit(error, "the run's record", path) from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SegtoolError("not readable", where=path, mend="the run cannot be resumed; another --out") from error

    def create(self, config: TrainConfig, state: RunState) -> None:
        """Writes the resolved configuration and the state."""
        ensure_folder(self.path)
        write_text(self.path / "config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        self.save(state)

    def save(self, state: RunState) -> None:
        """Writes state.json."""
        write_text(self.path / "state.json", state.model_dump_json(indent=2))

    def log(self, line: str) -> None:
        """Adds a line, with the time, to log.txt."""
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S%z} {line}\n")
