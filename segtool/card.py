"""The model card: what travels with every artifact, and all that is needed to run it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from segtool.errors import SegtoolError, printable
from segtool.stored import misfit

SCHEMA_VERSION = 2  # 1: before the CRF's logits were normalised
METADATA_KEY = "segtool_card"  # in safetensors metadata and in ONNX metadata_props

Number = Annotated[float, Field(allow_inf_nan=False)]
Matrix = list[list[Number]]
Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, AfterValidator(printable)]  # it may come from anywhere, and is shown in terminals
Compatibility = Literal["full", "per-class", "per-kernel"]
Level = Annotated[int, Field(ge=0, le=255)]
_LARGEST_STRIDE, MOST_ITERATIONS, WIDEST = 4096, 10_000, 1e6  # far beyond what is of use, and what still ends


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ClassInfo(_Strict):
    """One class: its id in masks and outputs, its name, its colour."""

    id: int = Field(ge=0, le=254)
    name: Text
    color: tuple[Level, Level, Level]


class InputContract(_Strict):
    """Images are RGB uint8; the graph normalises, pads to `stride` with the mean colour, and crops back."""

    mean: tuple[Number, Number, Number] = (0.485, 0.456, 0.406)  # of levels / 255
    std: tuple[Deviation, Deviation, Deviation] = (0.229, 0.224, 0.225)
    stride: int = Field(default=32, ge=1, le=_LARGEST_STRIDE)


class CrfCard(_Strict):
    """A dense CRF: kernel widths in pixels and levels, its learned tables, and what of them is learned.

    `normalize_unary`: whether log-probabilities are scaled, rather than logits as they come. `temperature` divides the
    logits of Q_T: the labels stay, the confidence becomes honest. `compatibility` and `learn_widths` say what a further
    training would learn.
    """

    spatial_gamma: float = Field(gt=0, le=WIDEST)
    bilateral_alpha: float = Field(gt=0, le=WIDEST)
    bilateral_beta: float = Field(gt=0, le=WIDEST)
    iterations: int = Field(ge=1, le=MOST_ITERATIONS)
    normalize_unary: bool = True
    unary_scale: list[Number] = Field(min_length=1)
    spatial_compatibility: Matrix
    bilateral_compatibility: Matrix
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    compatibility: Compatibility = "full"
    learn_widths: bool = False

    @model_validator(mode="after")
    def _tables_fit(self) -> "CrfCard":
        classes = len(self.unary_scale)
        for name in ("spatial_compatibility", "bilateral_compatibility"):
            table = getattr(self, name)
            if len(table) != classes or any(len(row) != classes for row in table):
                raise ValueError(f"{name} must be {classes}x{classes}, as unary_scale has {classes} classes")
        return self


class TrainedOn(_Strict):
    """The training data: `fingerprint` is the SHA-256 of the sorted file list."""

    dataset: Text
    split: Text
    image_count: int
    fingerprint: Text


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
    architecture: Text
    encoder: Text
    classes: list[ClassInfo] = Field(min_length=1, max_length=255)
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

    @model_validator(mode="after")
    def _classes_fit(self) -> "ModelCard":
        if [c.id for c in self.classes] != [*range(len(self.classes))]:
            raise ValueError(f"the class ids must be 0..{len(self.classes) - 1}, each once and in order")
        if self.crf is not None and len(self.crf.unary_scale) != len(self.classes):
            raise ValueError(f"the CRF has {len(self.crf.unary_scale)} classes, the model {len(self.classes)}")
        return self

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
