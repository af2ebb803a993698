"""The configuration of a training run: presets (YAML), `--set` overrides, validation."""

from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segtool.errors import SegtoolError
from segtool.train.suggest import unknown


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelConfig(_Strict):
    """Any segmentation-models-pytorch architecture and encoder, with that library's own options."""

    architecture: str = "FPN"
    encoder: str = "tu-mobilenetv3_large_100"
    weights: Literal["imagenet"] | None = None  # needs the model hub
    options: dict[str, Any] = {}


class DataConfig(_Strict):
    """Training crops. A scale of 0.5 shows twice the context at half the resolution."""

    crop: tuple[int, int] = (192, 256)  # height, width in pixels
    scale: tuple[float, float] = (0.5, 1.25)
    flip: bool = True
    color_jitter: float = Field(default=0.25, ge=0, lt=1)
    batch_size: int = Field(default=8, ge=1)
    workers: int = Field(default=0, ge=0)
    cache: bool = True  # decoded images in memory
    validation_images: int | None = Field(default=None, ge=1)  # for choosing the best epoch; None: all


ClassWeights = Literal["none", "log", "median", "inverse"]  # see `class_weights`


class LossConfig(_Strict):
    """Each loss times its weight; 0 leaves it out."""

    class_weights: ClassWeights = "log"  # of cross-entropy and focal loss
    cross_entropy: float = Field(default=1.0, ge=0)
    dice: float = Field(default=0.5, ge=0)
    focal: float = Field(default=0.0, ge=0)
    focal_gamma: float = Field(default=2.0, ge=0)


class StageConfig(_Strict):
    """One stage of gradient training."""

    epochs: int = Field(ge=0)
    learning_rate: float = Field(gt=0)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of sgd
    weight_decay: float = Field(default=0.01, ge=0)
    schedule: Literal["one-cycle", "cosine", "poly", "step", "plateau", "constant"] = "one-cycle"
    warmup: float = Field(default=0.2, ge=0, lt=1)  # one-cycle: share of the steps in which the rate rises
    step_every: int = Field(default=10, ge=1)  # epochs (step), validations without a better mIoU (plateau)
    step_factor: float = Field(default=0.1, gt=0, lt=1)  # of the rate, step and plateau
    accumulate: int = Field(default=1, ge=1)  # batches whose gradients make one step
    validate_every: int = Field(default=5, ge=1)
    gradient_clip: float = Field(default=1.0, ge=0)


class UnaryStageConfig(StageConfig):
    """Stage 1: the network alone."""

    freeze_encoder: float = Field(default=0.0, ge=0, lt=1)  # share of the epochs; then one block more each epoch


class CrfStageConfig(StageConfig):
    """Stage 2: the search over widths and weights, then the compatibilities by gradient."""

    search_images: int = Field(default=12, ge=1)
    spatial_gamma: list[float] = [1.5, 3.0]  # pixels
    bilateral_alpha: list[float] = [10.0, 20.0, 40.0]  # pixels
    bilateral_beta: list[float] = [8.0, 13.0]  # levels
    weight: list[tuple[float, float]] = [(0.5, 1.0), (1.0, 2.0)]  # spatial, bilateral
    compatibility: Literal["full", "per-class", "per-kernel"] = "full"
    learn_widths: bool = False  # by gradient, from where the search ended
    iterations: int = Field(default=5, ge=1)  # in training
    inference_iterations: int = Field(default=10, ge=1)
    crop: tuple[int, int] = (192, 256)
    batch_size: int = Field(default=4, ge=1)


class JointStageConfig(StageConfig):
    """Stage 3: loss(Q_T) + unary_loss * loss(unary)."""

    unary_loss: float = Field(default=0.5, ge=0)
    crf_learning_rate: float = Field(default=0.003, gt=0)


class TrainConfig(_Strict):
    """A whole run."""

    seed: int = 0
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    loss: LossConfig = LossConfig()
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"  # of the networks; the CRF has float32
    unary: UnaryStageConfig
    crf: CrfStageConfig
    joint: JointStageConfig


def preset_names() -> list[str]:
    """The names of the presets that come with segtool."""
    folder = resources.files("segtool.train") / "presets"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_config(preset: str, overrides: list[str]) -> TrainConfig:
    """A preset (its name, or the path of a YAML file) with `key.path=value` overrides applied.

    Raises:
        SegtoolError: unknown preset or key (with the nearest known one), or a bad value.
    """
    data = yaml.safe_load(_preset_text(preset))
    config = _validate(data, preset)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise SegtoolError("--set needs key=value", where=override)
        _assign(data, key, yaml.safe_load(value), config)
        config = _validate(data, f"--set {override}")
    return config


def _preset_text(preset: str) -> str:
    if preset.endswith((".yaml", ".yml")):
        try:
            return Path(preset).read_text(encoding="utf-8")
        except OSError as error:
            raise SegtoolError("cannot read the preset", where=preset, mend=str(error.strerror)) from error
    if preset not in preset_names():
        raise unknown("preset", preset, preset_names())
    return (resources.files("segtool.train") / "presets" / f"{preset}.yaml").read_text(encoding="utf-8")


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
        raise SegtoolError(f"configuration field {field}: {first['msg']}", where=where) from error
