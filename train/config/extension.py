"""Resuming a run with more epochs than it was started with."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from segtool.errors import SegtoolError
from segtool.train.config.settings import StageName, TrainConfig
from segtool.train.config.stages import STAGES

_SHOWN = 3


def extended_stages(saved: TrainConfig, wanted: TrainConfig, begun: Collection[str], where: Path) -> list[str]:
    """The stages that were begun and now have more epochs.

    Args:
        saved: the settings that the run was started with.
        begun: stages that have trained, or are about to.
        where: the file of those settings.

    Raises:
        SegtoolError: other settings differ; a stage has fewer epochs; a later stage has begun from where it ended.
    """
    changes = list(_changes(saved.model_dump(mode="json"), wanted.model_dump(mode="json")))
    others = [
        change for change in changes if change[0] not in {f"{stage.settings}.epochs" for stage in STAGES.values()}
    ]
    if others:
        shown = ", ".join(f"{key} was {old}, is {new}" for key, old, new in others[:_SHOWN])
        mend = "resume with the same --preset, --data, --from and --set; more epochs are possible"
        raise SegtoolError(f"the run was started with other settings or data ({shown})", where=where, mend=mend)
    longer = [
        (stage.name, old, new)
        for key, old, new in changes
        for stage in STAGES.values()
        if stage.settings == key.partition(".")[0] and stage.name in begun
    ]
    for stage, old, new in longer:
        _check_longer(stage, old, new, begun, where)
    return [stage for stage, _, _ in longer]


def _check_longer(stage: StageName, old: int, new: int, begun: Collection[str], where: Path) -> None:
    if new < old:
        what = f"stage {stage} was begun with {old} epochs, not {new}"
        raise SegtoolError(what, where=where, mend="more are possible")
    for later in STAGES:
        if later in begun and stage in _before(later):
            mend = "another --out, with --from this run"
            raise SegtoolError(f"stage {later} has begun from where stage {stage} ended", where=where, mend=mend)


def _before(stage: StageName) -> Iterator[StageName]:
    """The stages that a stage starts from, directly or not."""
    for previous in STAGES[stage].previous:
        yield previous
        yield from _before(previous)


def _changes(saved: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Key, old and new value of all that differs."""
    for key in dict.fromkeys([*saved, *wanted]):
        old, new = saved.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new
