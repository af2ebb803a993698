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
from segtool.train.run_folder import LAST, PREVIOUS


class WholeFile(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it; the one that was there stays as `previous.ckpt`.

    Lightning's own way leads through TMPDIR: from another file system the file is copied over the only good one, and a
    kill or a full disk in between tears it.
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
        mend = "another --out, with --from one of the run's .safetensors files"
        raise SegtoolError("damaged, and there is no other to go on from", where=found[0], mend=mend)
    return None


def _is_whole(path: Path) -> bool:
    """Whether all parts of the file are there, with the checksums that were written; 0.1 s for 100 MB."""
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is None
    except Exception:  # a damaged directory of the parts makes zipfile raise whatever it stumbles over
        return False
