"""The page for many images: a zip in, a zip out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from segtool.card import ModelCard
from segtool.demo.archive import MAX_IMAGES, Predict, segment_archive
from segtool.demo.refusal import refusal
from segtool.errors import SegtoolError


def many_images(models: Mapping[str, Predict], card: ModelCard, max_pixels: int) -> None:
    """Lays the page out.

    Args:
        max_pixels: of an image.
    """
    names = list(models)
    gr.Markdown(
        f"A zip file of at most {MAX_IMAGES} images. The answer is a zip file with a mask and an overlay of each, and "
        "index.csv with the share of each class. Other files in it are left alone, and named there."
    )
    archive = gr.File(label="Images (.zip)", file_types=[".zip"], elem_id="archive")
    chosen = gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1)
    button = gr.Button("Segment all", variant="primary", elem_id="segment-all")
    answer = gr.File(label="Masks (.zip)", interactive=False, elem_id="answer")
    button.click(
        _segmenter(models, card, max_pixels, answer),
        [archive, chosen],
        answer,
        api_name="segment_zip",
        api_description="Segments the images in a zip file; the answer is a zip file.",
        concurrency_limit=1,
    )


def _segmenter(
    models: Mapping[str, Predict], card: ModelCard, max_pixels: int, answer: Any
) -> Callable[[str | None, str], str]:
    # gradio gives a Progress to whatever has one as a default.
    def segment(path: str | None, chosen: str, progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
        if path is None:
            raise refusal("Upload a zip file first.")

        def show(done: int, total: int) -> None:
            progress((done, total), unit="images")

        try:
            packed, line = segment_archive(Path(path), models[chosen], card, max_pixels, show)
        except SegtoolError as error:
            raise refusal(error.what) from error
        gr.Info(line)
        # In gradio's cache, which is emptied with what else the visitor left.
        return save_bytes_to_cache(packed, "masks.zip", answer.GRADIO_CACHE)

    return segment
