"""Where a page keeps what visitors upload and what it answers."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_VARIABLE = "GRADIO_TEMP_DIR"
_NAME, _LOCK = "segtool-demo-", ".lock"


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder of this process alone for the pages that are built and served meanwhile; it is deleted at the end.

    All pages of a machine share gradio's own folder. gradio names files there by what is in them, so that a page which
    ends deletes files that another page still reads. Folders of pages that were killed are deleted now.
    """
    parent = Path(os.environ.get(_VARIABLE) or tempfile.gettempdir()).resolve()
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(parent)
    before = os.environ.get(_VARIABLE)
    with tempfile.TemporaryDirectory(prefix=_NAME, dir=parent, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (folder / "new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # as long as this process lives
            os.rename(folder / "new", folder / _LOCK)  # nobody finds it unlocked
            os.environ[_VARIABLE] = name
            try:
                yield folder
            finally:
                os.environ.pop(_VARIABLE)
                if before is not None:
                    os.environ[_VARIABLE] = before


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_NAME}*"):
        with suppress(OSError):  # somebody else's; or still in use, and locked
            with (folder / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
