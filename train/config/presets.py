"""Presets: the YAML files that come with segtool, `--set` overrides, and what is said of a bad one."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from segtool.errors import SegtoolError
from segtool.suggest import unknown
from segtool.train.config.settings import TrainConfig


def preset_names() -> list[str]:
    """The names of the presets that come with segtool."""
    folder = resources.files("segtool.train.config") / "presets"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_config(preset: str, overrides: list[str]) -> TrainConfig:
    """A preset (its name, or the path of a YAML file) with `key.path=value` overrides applied.

    Raises:
        SegtoolError: unknown preset or key (with the nearest known one), or a bad value.
    """
    data = _yaml(_preset_text(preset), preset)
    config = _validate(data, preset)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise SegtoolError("--set needs key=value", where=override)
        key = key.strip()
        _assign(data, key, _yaml(value, f"--set {override}"), config)
        config = _validate(data, f"--set {override}")
    return config


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SegtoolError(f"not valid YAML ({' '.join(str(error).split())})", where=where) from error


def _preset_text(preset: str) -> str:
    if preset.endswith((".yaml", ".yml")):
        try:
            return Path(preset).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise SegtoolError("cannot read the preset", where=preset, mend=reason) from error
    if preset not in preset_names():
        raise unknown("preset", preset, preset_names())
    return (resources.files("segtool.train.config") / "presets" / f"{preset}.yaml").read_text(encoding="utf-8")


def _assign(data: dict[str, Any], path: str, value: Any, config: TrainConfig) -> None:
    *parents, last = path.split(".")
    node: Any = config
    for name in [*parents, last]:
        if isinstance(node, BaseModel):
            if name not in type(node).model_fields:
                raise unknown("--set key", path, _all_keys(config))
            node = getattr(node, name)
    for name in parents:
        data = data.setdefault(name, {})
    data[last] = value


def _all_keys(model: BaseModel, prefix: str = "") -> list[str]:
    keys = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        keys += _all_keys(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else [prefix + name]
    return keys


def _validate(data: Any, where: str) -> TrainConfig:
    try:
        return TrainConfig.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        what = f"configuration field {field}" if field else "configuration"
        raise SegtoolError(f"{what}: {first['msg']}", where=where, mend=_example(first["loc"])) from error


def _example(place: tuple[int | str, ...]) -> str | None:
    """A value with the shape that a field of several numbers wants; None for other fields."""
    model: Any = TrainConfig
    for depth, name in enumerate(place, start=1):
        field = model.model_fields.get(name)
        if field is None:
            return None
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
            continue
        several = isinstance(field.default, (list, tuple)) and field.default
        return f"such as {'.'.join(map(str, place[:depth]))}='{json.dumps(field.default)}'" if several else None
    return None
