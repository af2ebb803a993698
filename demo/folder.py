"""Where a page keeps what visitors upload and what it answers."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

_VARIABLE = "GRADIO_TEMP_DIR"


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder of this process alone for the pages that are built and served meanwhile; it is deleted at the end.

    All pages of a machine share gradio's own folder. gradio names files there by what is in them, so that a page which
    ends deletes files that another page still reads.
    """
    parent = os.environ.get(_VARIABLE)
    if parent is not None:
        Path(parent).mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="segtool-demo-", dir=parent, ignore_cleanup_errors=True) as name,
        patch.dict(os.environ, {_VARIABLE: str(Path(name).resolve())}),
    ):
        yield Path(name)
