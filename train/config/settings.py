"""The configuration of a training run. Presets and `--set` fill it in, see presets.py."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from segtool.card import FARTHEST, MOST_HIDDEN, MOST_ITERATIONS, MOST_OFFSETS, WIDEST
from segtool.data.statistics import ClassWeights
from segtool.input_contract import LARGEST_STRIDE, MOST_BANDS

StageName = Literal["unary", "context", "crf", "joint", "control"]
Size = tuple[PositiveInt, PositiveInt]  # height, width in pixels


def _three(value: Any) -> Any:
    if value is not None and not _are_bands(value, 3):
        raise ValueError("three numbers of bands, such as [3,2,1]")
    return value


def _some(value: Any) -> Any:
    if value not in (None, "all") and not _are_bands(value):
        raise ValueError(f"all, or the numbers of 1 to {MOST_BANDS} bands, such as [4,3,2]")
    return value


def _are_bands(value: Any, count: int | None = None) -> bool:
    listed = isinstance(value, list | tuple) and all(type(band) is int and band > 0 for band in value)
    return listed and (len(value) == count if count else 1 <= len(value) <= MOST_BANDS)


Three = Annotated[tuple[int, int, int] | None, BeforeValidator(_three)]
Bands = Annotated[tuple[int, ...] | Literal["all"] | None, BeforeValidator(_some)]
Radius = Annotated[int, Field(ge=1, le=FARTHEST)]
Choices = Annotated[list[Annotated[PositiveFloat, Field(le=WIDEST)]], Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelConfig(_Strict):
    """A network; see `build_network`."""

    source: str = "smp"  # segtool, torchvision, transformers, or python:MODULE:FACTORY for one's own
    architecture: str = "FPN"
    encoder: str = "tu-mobilenetv3_large_100"  # of smp
    weights: str | None = "imagenet"  # from the hub; or a file; or null: from scratch
    head_dropout: float = Field(default=0.0, ge=0, lt=1)  # of whole channels before the segmentation head
    input_size: Size | None = None  # for a network that takes no other
    options: dict[str, Any] = {}  # further keyword arguments of the architecture

    @model_validator(mode="after")
    def _own_networks_start_from_scratch(self) -> "ModelConfig":
        if (self.source == "segtool" or self.source.startswith("python:")) and "weights" not in self.model_fields_set:
            self.weights = None
        return self


class DataConfig(_Strict):
    """Training crops. A scale of 0.5 shows twice the context at half the resolution."""

    bands: Bands = None  # of image files, counted from 1; None: as the dataset says, or RGB
    shown: Three = None  # of them, drawn red, green and blue; None: the first three
    crop: Size = (192, 256)
    scale: tuple[PositiveFloat, PositiveFloat] = (0.5, 1.25)  # from, to
    flip: bool = True
    rotate: float = Field(default=0.0, ge=0, le=180)  # at most so many degrees either way
    color_jitter: float = Field(default=0.25, ge=0, lt=1)  # of brightness, contrast, of pictures saturation
    noise: float = Field(default=0.0, ge=0)  # standard deviation, levels; of bands 255 is from black to white
    batch_size: int | Literal["auto"] = 8  # on each device; auto: what fits into its memory
    workers: int | None = Field(default=None, ge=0)  # processes that read and augment; None: suited to the machine
    cache: Literal["auto", "ram", "disk", "none"] = "auto"  # of decoded images
    also: tuple[str, ...] = ()  # specs of further datasets whose training splits are trained on, too
    validation_images: int | None = Field(default=None, ge=1)  # for choosing the best epoch; None: all

    @model_validator(mode="after")
    def _some_images_in_a_batch(self) -> "DataConfig":
        if self.batch_size != "auto" and self.batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        return self

    @model_validator(mode="after")
    def _scales_rise(self) -> "DataConfig":
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale must rise")
        return self


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
    gradient_clip: float = Field(default=1.0, ge=0)
    ema: float = Field(default=0.0, ge=0, lt=1)  # decay of an average of the weights, which is what is kept; 0: none
    validate_every: int = Field(default=5, ge=1)
    early_stopping: int = Field(default=0, ge=0)  # validations without a better mIoU; 0: never
    checkpoint_every: int = Field(default=0, ge=0)  # epochs between checkpoints that are all kept; 0: none


class UnaryStageConfig(StageConfig):
    """The network alone."""

    freeze_encoder: float = Field(default=0.0, ge=0, lt=1)  # share of the epochs; then one block more each epoch


class ContextStageConfig(StageConfig):
    """The contextual CRF: its graph, and how its potentials are learned, edge by edge."""

    epochs: int = Field(default=30, ge=0)
    learning_rate: float = Field(default=0.003, gt=0)
    weight_decay: float = Field(default=0.0001, ge=0)
    train_network: bool = False  # too, by the sum of its own loss and that of the edges
    stride: int = Field(default=8, ge=1, le=LARGEST_STRIDE)  # pixels from one place of the coarse map to the next
    radii: list[Radius] = Field(default=[2, 4, 7, 11, 16], min_length=1, max_length=MOST_OFFSETS // 4)  # places
    hidden: int = Field(default=64, ge=1, le=MOST_HIDDEN)  # width of the network that gives an edge's potential
    tables: int = Field(
        default=16, ge=1, le=MOST_HIDDEN
    )  # of C x C, each of rank one, that the potentials are composed of
    iterations: int = Field(default=3, ge=1, le=MOST_ITERATIONS)  # of mean field
    scale: float = Field(default=1.0, gt=0)  # of the message, in the beginning; stage joint learns it for each class
    class_weights: bool = True  # an edge counts as the mean of its ends' classes does in cross-entropy
    edges: int = Field(default=4096, ge=1)  # of each batch
    batch_size: int = Field(default=4, ge=1)  # images, where the network is fixed; else data.batch_size


class CrfStageConfig(StageConfig):
    """The dense CRF: the search over widths and weights, then the compatibilities by gradient."""

    bands: Three = None  # of image files, which guide the colour kernel; None: those that are shown
    search_images: int = Field(default=12, ge=1)
    spatial_gamma: Choices = [1.5, 3.0]  # pixels
    bilateral_alpha: Choices = [10.0, 20.0, 40.0]  # pixels
    bilateral_beta: Choices = [8.0, 13.0]  # levels
    weight: list[tuple[float, float]] = Field(default=[(0.5, 1.0), (1.0, 2.0)], min_length=1)  # spatial, bilateral
    compatibility: Literal["full", "per-class", "per-kernel"] = "full"
    learn_widths: bool = False  # by gradient, from where the search ended
    iterations: int = Field(default=5, ge=1, le=MOST_ITERATIONS)  # in training
    inference_iterations: int = Field(default=10, ge=1, le=MOST_ITERATIONS)
    crop: Size = (192, 256)
    batch_size: int = Field(default=4, ge=1)


class JointStageConfig(StageConfig):
    """Everything: loss(Q_T) + unary_loss * loss(unary)."""

    freeze_batch_norm: bool = True  # its statistics, which small batches would only blur

    unary_loss: float = Field(default=0.5, ge=0)
    crf_learning_rate: float = Field(default=0.003, gt=0)


class SnapshotConfig(_Strict):
    """Pictures of the same validation images as training goes on, and a GIF of them."""

    every: int = Field(default=0, ge=0)  # epochs; 0: none
    images: int = Field(default=4, ge=1)


class ReportConfig(_Strict):
    """The evaluation that a run ends with; see segtool eval."""

    write: bool = True
    failures: float | None = Field(default=None, gt=0, le=1)  # mIoU under which an image is explained


class TrainConfig(_Strict):
    """A whole run."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    loss: LossConfig = LossConfig()
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"  # of the networks; the CRF has float32
    compile: bool = False  # torch.compile of the network
    loggers: list[Literal["wandb", "mlflow"]] = []  # besides TensorBoard and CSV
    snapshots: SnapshotConfig = SnapshotConfig()
    report: ReportConfig = ReportConfig()
    stages: list[StageName] = ["unary", "crf", "joint"]  # what is trained unless --stages says otherwise
    unary: UnaryStageConfig
    context: ContextStageConfig = ContextStageConfig()
    crf: CrfStageConfig
    joint: JointStageConfig
