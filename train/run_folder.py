"""A run folder and what it remembers.

It holds config.yaml, state.json (what is done, with scores), history.jsonl and history.csv, log.txt, and for each
stage `STAGE/best.safetensors` and `STAGE/last.ckpt`; at the end model.safetensors, the best of the last stage.
"""

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from pydantic import BaseModel, Field

from segtool.card import ValidationScores
from segtool.errors import SegtoolError
from segtool.files import ensure_folder, write_text
from segtool.train.config import TrainConfig
from segtool.train.models import KernelWidths
from segtool.train.stage import StageName


class RunState(BaseModel):
    """state.json: what a run has done."""

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

        Raises:
            SegtoolError: there is another run, or one that is not to be resumed.
        """
        if not (self.path / "state.json").is_file():
            return None
        if not resume:
            raise SegtoolError("the folder already holds a run", where=self.path, mend="--resume, or another --out")
        state = RunState.model_validate_json((self.path / "state.json").read_text(encoding="utf-8"))
        saved = yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8"))
        if TrainConfig.model_validate(saved) != config or (state.data, state.start) != (data, start):
            raise SegtoolError(
                "the run was started with other settings or data",
                where=self.path / "config.yaml",
                mend="resume with the same --preset, --data, --from and --set",
            )
        return state

    def create(self, config: TrainConfig, state: RunState) -> None:
        """Writes the resolved configuration and the first state."""
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
