"""What an interrupted stage goes on from: the state of training after its last epoch, and after the one before."""

import io
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from segtool.errors import SegtoolError, SegtoolWarning
from segtool.files import atomic_path
from segtool.train.networks.state_dict import load_harmless, why_unreadable
from segtool.train.run_folder import LAST, PREVIOUS

_MEND = "another --out, with --from one of the run's .safetensors files"


class WholeFile(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it; the one that was there stays as `previous.ckpt`. Reads one
    without running code in it, for the folder of a run may be anybody's.

    Lightning's own way to write leads through TMPDIR: from another file system the file is copied over the only good
    one, and a kill or a full disk in between tears it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """See Lightning.

        Raises:
            SegtoolError: the disk is full, or the folder cannot be written to; the checkpoints before are as they were.
        """
        place, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)  # into memory: of a full disk it would only say that writing failed
        with atomic_path(place) as temporary:
            temporary.write_bytes(content.getbuffer())
            if place.is_file():
                os.replace(place, place.with_name(PREVIOUS))

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        """See Lightning.

        Raises:
            SegtoolError: not a state of training, or objects in it that only code could make again.
        """
        try:
            found = load_harmless(Path(path))
        except Exception as error:  # of pickle or zip
            what = f"not readable as a state of training ({why_unreadable(error)})"
            raise SegtoolError(what, where=path, mend=_MEND) from error
        if not isinstance(found, dict) or not {"state_dict", "loops", "pytorch-lightning_version"} <= found.keys():
            raise SegtoolError("not a state of training", where=path, mend=_MEND)
        return found


def resume_from(folder: Path) -> Path | None:
    """The checkpoint of a stage's folder to go on from; None if it has none.

    Raises:
        SegtoolError: there are only damaged ones.
    """
    found = [path for path in (folder / LAST, folder / PREVIOUS) if path.is_file()]
    for path in found:
        if _is_whole(path):
            if path != found[0]:
                warnings.warn(f"damaged: {found[0]}; going on from the epoch before it", SegtoolWarning, stacklevel=2)
            return path
    if found:
        raise SegtoolError("damaged, and there is no other to go on from", where=found[0], mend=_MEND)
    return None


def _is_whole(path: Path) -> bool:
    """Whether all parts of the file are there, with the checksums that were written; 0.1 s for 100 MB."""
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is None
    except Exception:  # a damaged directory of the parts makes zipfile raise whatever it stumbles over
        return False
