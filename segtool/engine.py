"""What lies beside a TensorRT engine: its model card, and the machine that it was built for."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from segtool.card import ModelCard, parse_card
from segtool.errors import SegtoolError
from segtool.files import write_text
from segtool.input_contract import InputContract

Shape = tuple[int, int, int, int]
INPUT, STATUS = "image", "lattice_status"  # an engine's tensors besides the exported outputs


def input_kind(contract: InputContract) -> str:
    """Of which kind an engine's input is: TensorRT knows no 16-bit integers."""
    return "float32" if contract.kind == "uint16" else contract.kind


class Machine(BaseModel):
    """An engine runs on the kind of machine that it was built on, and no other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tensorrt: str  # version
    gpu: str  # name
    compute_capability: str  # such as 9.0
    driver: str  # version


class Profile(BaseModel):
    """The input shapes [N,H,W,B] that an engine takes, and the one that it is fastest at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: Shape
    opt: Shape
    max: Shape

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Whether the engine takes images of a shape."""
        return len(shape) == 4 and all(a <= s <= b for a, s, b in zip(self.min, shape, self.max, strict=True))

    def nearest(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Of batches (N, H, W) that the engine takes, the nearest."""
        n, height, width = (max(a, min(s, b)) for a, s, b in zip(self.min[:3], shape, self.max[:3], strict=True))
        return n, height, width

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width, where the engine takes no other; else None."""
        height, width = (a if a == b else None for a, b in zip(self.min[1:3], self.max[1:3], strict=True))
        return height, width


class EngineRecord(BaseModel):
    """The sidecar of an engine, `model.engine.json`."""

    model_config = ConfigDict(extra="forbid")

    source: str  # the .onnx file's name
    machine: Machine
    profile: Profile
    vertices_per_pixel: float
    card: ModelCard
    digest: str | None = None  # SHA-256 of the engine; older records have none


def record_path(engine: Path) -> Path:
    """Where the record of an engine lies."""
    return engine.with_name(engine.name + ".json")


def write_record(engine: Path, record: EngineRecord) -> None:
    """Writes it, atomically."""
    write_text(record_path(engine), record.model_dump_json(indent=2) + "\n")


def read_record(engine: Path) -> EngineRecord:
    """Reads it.

    Raises:
        SegtoolError: missing or damaged; or no engine.
    """
    path = record_path(engine)
    if not engine.is_file():
        raise SegtoolError("no such engine", where=engine, mend="segtool build model.onnx")
    mend = "build the engine again: segtool build model.onnx"
    if not path.is_file():
        raise SegtoolError("the engine's record is missing", where=path, mend=mend)
    try:
        record = EngineRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise SegtoolError("not the record of an engine", where=path, mend=mend) from error
    return record.model_copy(update={"card": parse_card(record.card.to_json(), path)})
