"""The model card: what travels with every artifact, and all that is needed to run it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from segtool.errors import SegtoolError, printable
from segtool.input_contract import LARGEST_STRIDE, InputContract, Number
from segtool.stored import misfit

SCHEMA_VERSION = 4  # 3: before bands; 2: before the contextual CRF; 1: before the dense CRF's logits were normalised
METADATA_KEY = "segtool_card"  # in safetensors metadata and in ONNX metadata_props

Matrix = list[list[Number]]
Text = Annotated[str, AfterValidator(printable)]  # it may come from anywhere, and is shown in terminals
Compatibility = Literal["full", "per-class", "per-kernel"]
Level = Annotated[int, Field(ge=0, le=255)]
MOST_ITERATIONS, WIDEST = 10_000, 1e6  # far beyond what is of use, and what still ends
MOST_OFFSETS, MOST_HIDDEN, _MOST_CHANNELS, FARTHEST = 1024, 4096, 65_536, 1024
Step = Annotated[int, Field(ge=-FARTHEST, le=FARTHEST)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ClassInfo(_Strict):
    """One class: its id in masks and outputs, its name, its colour."""

    id: int = Field(ge=0, le=254)
    name: Text
    color: tuple[Level, Level, Level]


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


class ContextCard(_Strict):
    """A contextual CRF: its graph, and the sizes of the network that gives its potentials. The weights lie beside the
    card in a checkpoint, and in the graph of an exported model.

    `stride` is the side of a place of its coarse map in pixels, `feature_stride` that of the network's features, which
    have `features` channels; `reads_logits`: whether the logits are the features. `offsets` are (rows down, columns
    right) from the first to the second place of an edge, in places. `temperature` divides the logits with the message.
    """

    stride: int = Field(ge=1, le=LARGEST_STRIDE)
    features: int = Field(ge=1, le=_MOST_CHANNELS)
    feature_stride: int = Field(ge=1, le=LARGEST_STRIDE)
    reads_logits: bool = False
    offsets: list[tuple[Step, Step]] = Field(min_length=1, max_length=MOST_OFFSETS)
    hidden: int = Field(ge=1, le=MOST_HIDDEN)
    tables: int = Field(ge=1, le=MOST_HIDDEN)
    iterations: int = Field(ge=1, le=MOST_ITERATIONS)
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _edges_have_one_direction(self) -> "ContextCard":
        if any(offset <= (0, 0) for offset in self.offsets):
            raise ValueError("an edge must lead down, or to the right in the same row: its opposite comes by itself")
        return self

    @model_validator(mode="after")
    def _places_hold_whole_features(self) -> "ContextCard":
        if self.stride % self.feature_stride:
            raise ValueError(f"stride {self.stride} is no multiple of feature_stride {self.feature_stride}")
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
    """Scores on the same images: of the network alone; of the whole model, where it has a CRF; and between its
    contextual and its dense CRF, where it has both."""

    before_crf: Scores
    after_context: Scores | None = None
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

    schema_version: Literal[4] = 4
    architecture: Text
    encoder: Text
    classes: list[ClassInfo] = Field(min_length=1, max_length=255)
    ignore_index: int = 255
    input: InputContract = InputContract()
    context: ContextCard | None = None
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
        """A model of an older schema goes on giving what it gave: in version 1 its CRF scales logits as they come."""
        if not isinstance(data, dict) or data.get("schema_version") not in (1, 2, 3):
            return data
        crf = data.get("crf")
        if data["schema_version"] == 1 and isinstance(crf, dict):
            crf = {**crf, "normalize_unary": False}
        return {**data, "schema_version": SCHEMA_VERSION, "crf": crf}

    @model_validator(mode="after")
    def _classes_fit(self) -> "ModelCard":
        if [c.id for c in self.classes] != [*range(len(self.classes))]:
            raise ValueError(f"the class ids must be 0..{len(self.classes) - 1}, each once and in order")
        if self.crf is not None and len(self.crf.unary_scale) != len(self.classes):
            raise ValueError(f"the CRF has {len(self.crf.unary_scale)} classes, the model {len(self.classes)}")
        return self

    @property
    def has_crf(self) -> bool:
        """Whether the labels are other than the network's own."""
        return self.context is not None or self.crf is not None

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
    """The card of a model without its dense CRF."""
    if card.crf is None:
        return card
    found = card.validation
    scores = found and found.model_copy(update={"after_crf": found.after_context, "after_context": None})
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
