"""What the page takes for a file: one that was uploaded, and nothing else."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from segtool.demo.refusal import refusal

log = logging.getLogger(__name__)


def only_uploads(page: gr.Blocks) -> None:
    """Makes all inputs of a page refuse addresses, which gradio would fetch, and folders.

    Gradio notes what it is given, to delete it later. A folder cannot be deleted like a file, and the attempt would end
    the deletion of everything else.
    """
    take = page.preprocess_data

    # Here every input comes by, of whatever component; copies that gradio makes of components know nothing of us.
    async def checked(block_fn: Any, inputs: list[Any], *more: Any, **named: Any) -> Any:
        for path in _paths(inputs):
            # Whether it lies among the uploads gradio looks at itself.
            if not Path(path).is_file():
                raise refusal("That is not a file that was uploaded.")
        try:
            return await take(block_fn, inputs, *more, **named)
        except (gr.Error, OSError, MemoryError):
            raise
        except Exception as error:  # gradio's components take for granted that the page's own script asks
            log.warning("inputs that do not fit: %s", f"{type(error).__name__}: {error}"[:300])
            log.debug("of which this is all", exc_info=error)
            raise refusal("That does not fit the inputs.") from error

    page.preprocess_data = checked  # type: ignore[method-assign]


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        path = value.get("path")
        if path is not None:
            yield str(path)
        value = [*value.values()]
    if isinstance(value, list):
        for part in value:
            yield from _paths(part)
