"""What the page takes for an input: a file that was uploaded, and nothing else."""

from pathlib import Path
from typing import Any

from gradio.components import Component

from segtool.demo.refusal import refusal


def only_uploads(component: Component) -> None:
    """Makes a component refuse addresses, which gradio would fetch, and folders.

    Gradio notes what it is given, to delete it later. A folder cannot be deleted like a file, and the attempt would end
    the deletion of everything else.
    """
    keep = component.async_move_resource_to_block_cache

    async def checked(given: str | Path | None) -> Any:
        # Whether it lies among the uploads gradio has seen to already.
        if given is not None and not Path(given).is_file():
            raise refusal("That is not a file that was uploaded.")
        return await keep(given)

    component.async_move_resource_to_block_cache = checked  # type: ignore[method-assign]
