"""The model card: what travels with every artifact, and all that is needed to run it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from segtool.errors import SegtoolError
from segtool.stored import misfit

SCHEMA_VERSION = 2  # 1: before the CRF's logits were normalised
METADATA_KEY = "segtool_card"  # in safetensors metadata and in ONNX metadata_props

Matrix = list[list[float]]
Compatibility = Literal["full", "per-class", "per-kernel"]
Level = Annotated[int, Field(ge=0, le=255)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ClassInfo(_Strict):
    """One class: its id in masks and outputs, its name, its colour."""

    id: int = Field(ge=0, le=254)
    name: str
    color: tuple[Level, Level, Level]


class InputContract(_Strict):
    """Images are RGB uint8; the graph normalises, pads to `stride` with the mean colour, and crops back."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of levels / 255
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    stride: int = Field(default=32, ge=1)


class CrfCard(_Strict):
    """A dense CRF: kernel widths in pixels and levels, its learned tables, and what of them is learned.

    `normalize_unary`: whether log-probabilities are scaled, rather than logits as they come. `temperature` divides the
    logits of Q_T: the labels stay, the confidence becomes honest. `compatibility` and `learn_widths` say what a further
    training would learn.
    """

    spatial_gamma: float = Field(gt=0)
    bilateral_alpha: float = Field(gt=0)
    bilateral_beta: float = Field(gt=0)
    iterations: int = Field(ge=1)
    normalize_unary: bool = True
    unary_scale: list[float]
    spatial_compatibility: Matrix
    bilateral_compatibility: Matrix
    temperature: float = Field(default=1.0, gt=0)
    compatibility: Compatibility = "full"
    learn_widths: bool = False


class TrainedOn(_Strict):
    """The training data: `fingerprint` is the SHA-256 of the sorted file list."""

    dataset: str
    split: str
    image_count: int
    fingerprint: str


class Scores(_Strict):
    """Validation scores, each 0..1. `boundary_f` is the mean over classes at 2 px."""

    miou: float
    pixel_accuracy: float
    boundary_f: float


class ValidationScores(_Strict):
    """Scores of the unary network and of the whole model, on the same images."""

    before_crf: Scores
    after_crf: Scores | None
    images: int


class ParityRecord(_Strict):
    """One comparison of a deployed artifact with PyTorch. |dp| is of the winning class' probability.

    `shapes` are the inputs, NxHxW; `miou_difference` is deployed less PyTorch, 0..1, where the truth was known;
    `culprit` says where a file that failed begins to differ.
    """

    backend: str
    precision: str
    versions: dict[str, str]
    images: int
    label_agreement: float
    max_abs_dp: float
    mean_abs_dp: float
    passed: bool
    shapes: list[str] = []
    miou_difference: float | None = None
    culprit: str | None = None


class ModelCard(_Strict):
    """Everything that an artifact says of itself."""

    schema_version: Literal[2] = 2
    architecture: str
    encoder: str
    classes: list[ClassInfo]
    ignore_index: int = 255
    input: InputContract = InputContract()
    crf: CrfCard | None = None
    precision: Literal["float32", "float16", "int8"] = "float32"
    trained_on: TrainedOn
    seed: int
    config: dict[str, Any]
    packages: dict[str, str]
    validation: ValidationScores | None = None
    parity: list[ParityRecord] = []

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, data: Any) -> Any:
        """A model of schema version 1 goes on giving what it gave: its CRF scales logits as they come."""
        if not isinstance(data, dict) or data.get("schema_version") != 1:
            return data
        crf = data.get("crf")
        return {**data, "schema_version": 2, "crf": {**crf, "normalize_unary": False} if isinstance(crf, dict) else crf}

    @property
    def colors(self) -> list[tuple[int, int, int]]:
        """RGB by class id."""
        return [c.color for c in self.classes]

    @property
    def names(self) -> list[str]:
        """Names by class id."""
        return [c.name for c in self.classes]

    def to_json(self) -> str:
        """The card as it is stored in artifacts."""
        return self.model_dump_json()


def without_crf(card: ModelCard) -> ModelCard:
    """The card of a model's network alone."""
    scores = card.validation and card.validation.model_copy(update={"after_crf": None})
    return card.model_copy(update={"crf": None, "validation": scores})


def parse_card(text: str | None, where: object) -> ModelCard:
    """Reads a stored card.

    Raises:
        SegtoolError: no card, an unknown schema version, or a damaged one.
    """
    if not text:
        raise SegtoolError(
            "no segtool model card in the file",
            where=where,
            mend="use a file that segtool train or export wrote",
        )
    try:
        return ModelCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if field == "schema_version":
            raise SegtoolError(
                f"model card schema version {first['input']} is not known to this segtool (it reads {SCHEMA_VERSION})",
                where=where,
                mend="upgrade segtool",
            ) from error
        raise misfit(error, "model card", where) from error
