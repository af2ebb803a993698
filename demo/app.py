"""One page: upload an image, compare the labels before and after the CRF."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

# Before gradio is imported: a demo of one's own images tells nobody.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from segtool.card import ModelCard
from segtool.demo.legend import legend_html
from segtool.errors import SegtoolError
from segtool.images import list_images, overlay, read_image
from segtool.runtime import OnnxModel

Answer = tuple[tuple[NDArray[np.uint8], NDArray[np.uint8]], str, str]


def build_demo(model: OnnxModel, examples: Path | None = None) -> gr.Blocks:
    """The page for a model; `examples` is a folder of images to click on."""
    card = model.card
    with gr.Blocks(title=f"segtool: {card.architecture}") as page:
        gr.Markdown(_heading(card))
        with gr.Row():
            with gr.Column(scale=1):
                # image_mode=None: the file as it was uploaded, not converted by gradio.
                upload = gr.Image(
                    type="filepath", image_mode=None, label="Image", sources=["upload", "clipboard"], elem_id="upload"
                )
                upload.preprocess = _naming_what_is_no_image(upload.preprocess)
                opacity = gr.Slider(0, 1, 0.55, step=0.05, label="Opacity of the labels")
                button = gr.Button("Segment", variant="primary")
            with gr.Column(scale=2):
                slider = gr.ImageSlider(label=_slider_label(card), type="numpy", elem_id="result", max_height=720)
                timing = gr.Markdown(elem_id="timing")
        legend = gr.HTML(legend_html(card, None), elem_id="legend")
        if examples is not None:
            gr.Examples([str(p) for p in list_images(examples)[:8]], upload)
        answer = _answerer(model)
        gr.on(
            [button.click, upload.upload, opacity.release],
            answer,
            [upload, opacity],
            [slider, timing, legend],
        )
    return page


def _naming_what_is_no_image(preprocess: Callable[..., Any]) -> Callable[..., Any]:
    """Gradio opens an upload before the answer does, and would say no more than "Error".

    A subclass of gr.Image would be the usual way, but gradio writes a stub file beside its module.
    """

    def checked(payload: Any) -> Any:
        try:
            return preprocess(payload)
        except (UnidentifiedImageError, OSError) as error:
            raise gr.Error("That file is not an image.") from error

    return checked


def _answerer(model: OnnxModel) -> Callable[[str | None, float], Answer]:
    def answer(path: str | None, opacity: float) -> Answer:
        if path is None:
            raise gr.Error("Upload an image first.")
        try:
            image = read_image(Path(path))
            start = time.perf_counter()
            prediction = model(image)
        except SegtoolError as error:
            # The path is the server's temporary file, of no use to the person.
            raise gr.Error(error.what) from error
        seconds = time.perf_counter() - start
        colors = model.card.colors
        after = overlay(image, prediction.labels, colors, opacity)
        if prediction.unary_labels is None:
            before, changed = image, None
        else:
            before = overlay(image, prediction.unary_labels, colors, opacity)
            changed = float((prediction.labels != prediction.unary_labels).mean())
        text = _timing(image.shape, seconds, float(prediction.confidence.mean()), changed)
        return (before, after), text, legend_html(model.card, prediction.labels)

    return answer


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


def _timing(shape: tuple[int, ...], seconds: float, confidence: float, changed: float | None) -> str:
    parts = [
        f"**{1000 * seconds:.0f} ms** for {shape[1]}x{shape[0]} pixels",
        f"mean confidence {confidence:.2f}",
    ]
    if changed is not None:
        parts.append(f"the CRF changed {100 * changed:.1f} % of the labels")
    return " · ".join(parts)
