"""Where a checkpoint lies and what its card says, without PyTorch."""

from pathlib import Path

import safetensors

from segtool.card import METADATA_KEY, ModelCard, parse_card
from segtool.errors import SegtoolError
from segtool.impostors import impostor

MODEL_FILE = "model.safetensors"


def checkpoint_path(model: Path) -> Path:
    """The checkpoint that MODEL names: a run folder's model, or the file itself."""
    if model.is_dir():
        path = model / MODEL_FILE
        if not path.is_file():
            raise SegtoolError(
                "the folder holds no finished model",
                where=path,
                mend="finish the run with segtool train ... --resume",
            )
        return path
    if not model.exists():
        raise SegtoolError("no such model", where=model)
    return model


def read_card(path: Path) -> ModelCard:
    """The card of a checkpoint file.

    Raises:
        SegtoolError: not a safetensors file, no card, or a newer schema.
    """
    return parse_card(_card_text(path), path)


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a run folder or a file with a card, rather than weights alone or nothing.

    Raises:
        SegtoolError: a damaged .safetensors file.
    """
    if path.suffix == ".safetensors" and path.is_file():
        return _card_text(path) is not None
    return path.is_dir()


def _card_text(path: Path) -> str | None:
    if (found := impostor(path)) is not None:
        raise found
    try:
        with safetensors.safe_open(path, "np") as file:
            return (file.metadata() or {}).get(METADATA_KEY)
    except (safetensors.SafetensorError, OSError) as error:
        exported = path.suffix in (".onnx", ".engine")
        mend = "give the run folder that it was exported from" if exported else "use a file that segtool train wrote"
        raise SegtoolError(f"not a readable checkpoint ({error})", where=path, mend=mend) from error
