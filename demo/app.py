"""One page: upload an image, compare the labels before and after the CRF, take what you need home."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

# Before gradio is imported: a demo of one's own images tells nobody.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from segtool.card import ModelCard
from segtool.demo.legend import legend_html
from segtool.demo.pictures import Result, areas, before_and_after, confidence_map, download_links
from segtool.errors import SegtoolError
from segtool.images import list_images, read_image
from segtool.runtime import Model

MAX_FILE = "32mb"
_WAITING = 32  # requests that may wait; more are refused with a message
_MINUTES = 15  # for which results and files of a visitor are kept


def build_demo(model: Model, examples: Path | None, max_pixels: int) -> gr.Blocks:
    """The page for a model.

    Args:
        examples: a folder of images to click on.
        max_pixels: of an upload; larger ones are refused before they are decoded.
    """
    card = model.card
    with gr.Blocks(title=f"segtool: {card.architecture}", delete_cache=(60 * _MINUTES, 60 * _MINUTES)) as page:
        gr.Markdown(_heading(card))
        result = gr.State(time_to_live=60 * _MINUTES)
        with gr.Row():
            with gr.Column(scale=1):
                # image_mode=None: the file as it was uploaded, not converted by gradio.
                upload = gr.Image(
                    type="filepath",
                    image_mode=None,
                    label="Image",
                    sources=["upload", "clipboard", "webcam"],
                    elem_id="upload",
                )
                upload.preprocess = _naming_what_is_no_image(upload.preprocess)
                button = gr.Button("Segment", variant="primary")
                opacity = gr.Slider(0, 1, 0.55, step=0.05, label="Opacity of the labels", elem_id="opacity")
                only = gr.CheckboxGroup(
                    [(c.name, c.id) for c in card.classes], label="Show only these classes", elem_id="only"
                )
            with gr.Column(scale=2):
                slider = gr.ImageSlider(label=_slider_label(card), type="numpy", elem_id="result", max_height=720)
                timing = gr.Markdown(elem_id="timing")
                legend = gr.HTML(legend_html(card, None), elem_id="legend")
                downloads = gr.HTML(elem_id="downloads")
                with gr.Accordion("Confidence", open=False, elem_id="confidence"):
                    heat = gr.Image(label="Dark: unsure. Yellow: sure.", interactive=False, buttons=["fullscreen"])
                with gr.Accordion("Numbers", open=False):
                    numbers = gr.JSON(elem_id="numbers")
        if examples is not None:
            gr.Examples([str(p) for p in list_images(examples)[:8]], upload)
        shown = [slider, downloads]
        gr.on(
            [button.click, upload.upload],
            _segmenter(model, max_pixels),
            [upload, opacity, only],
            [result, *shown, timing, legend, heat, numbers],
            api_name="segment",
            api_description="Segments an image file; the last of the answers holds the area of each class.",
        )
        # The model is not asked again for what is only drawn differently.
        gr.on([opacity.release, only.change], _redrawer(card), [result, opacity, only], shown, api_visibility="private")
    page.queue(max_size=_WAITING, default_concurrency_limit=2)
    return page


def _naming_what_is_no_image(preprocess: Callable[..., Any]) -> Callable[..., Any]:
    """Gradio opens an upload before the answer does, and would say no more than "Error".

    A subclass of gr.Image would be the usual way, but gradio writes a stub file beside its module.
    """

    def checked(payload: Any) -> Any:
        try:
            return preprocess(payload)
        except Image.DecompressionBombError as error:
            raise gr.Error("That image is far too large.") from error
        except (UnidentifiedImageError, OSError) as error:
            raise gr.Error("That file is not an image.") from error

    return checked


def _segmenter(model: Model, max_pixels: int) -> Callable[..., list[Any]]:
    def segment(path: str | None, opacity: float, only: list[int]) -> list[Any]:
        if path is None:
            raise gr.Error("Upload an image first.")
        try:
            image = read_image(Path(path), max_pixels)
            start = time.perf_counter()
            prediction = model(image)
        except SegtoolError as error:
            # The path is the server's temporary file, of no use to the person.
            raise gr.Error(error.what) from error
        result = Result(image, prediction, time.perf_counter() - start)
        drawn, legend = _drawn(result, model.card, opacity, only), legend_html(model.card, prediction.labels)
        return [result, *drawn, _timing(result), legend, confidence_map(result), areas(result, model.card)]

    return segment


def _redrawer(card: ModelCard) -> Callable[..., list[Any]]:
    def redraw(result: Result | None, opacity: float, only: list[int]) -> list[Any]:
        return [gr.skip(), gr.skip()] if result is None else _drawn(result, card, opacity, only)

    return redraw


def _drawn(result: Result, card: ModelCard, opacity: float, only: list[int]) -> list[Any]:
    """The slider's pictures, and the links to the files."""
    return [before_and_after(result, card, opacity, only), download_links(result, card, opacity)]


def _heading(card: ModelCard) -> str:
    text = f"## {card.architecture} · {card.encoder}\nTrained on {card.trained_on.dataset}"
    text += f" ({card.trained_on.image_count} images)"
    if card.validation is not None:
        best = card.validation.after_crf or card.validation.before_crf
        text += f", validation mIoU {100 * best.miou:.1f} %"
    if card.crf is not None:
        text += f", CRF with {card.crf.iterations} mean-field iterations"
    return text


def _slider_label(card: ModelCard) -> str:
    return "Before the CRF | after the CRF" if card.crf is not None else "Image | labels"


def _timing(result: Result) -> str:
    height, width = result.prediction.labels.shape
    parts = [
        f"**{1000 * result.seconds:.0f} ms** for {width}x{height} pixels",
        f"mean confidence {result.prediction.confidence.mean():.2f}",
    ]
    if result.prediction.unary_labels is not None:
        changed = float((result.prediction.labels != result.prediction.unary_labels).mean())
        parts.append(f"the CRF changed {100 * changed:.1f} % of the labels")
    return " · ".join(parts)
