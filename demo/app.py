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
from segtool.images import RGB, list_images, read_image
from segtool.runtime import Model

MAX_FILE = "32mb"
_WAITING = 32  # requests that may wait; more are refused with a message
_ALONE = "nothing: before and after the CRF"
_MINUTES = 15  # for which results and files of a visitor are kept


def build_demo(models: dict[str, Model], examples: Path | None, max_pixels: int) -> gr.Blocks:
    """The page for one model, or for several to choose from and to compare.

    Args:
        models: by the names that visitors see; of the same classes.
        examples: a folder of images to click on.
        max_pixels: of an upload; larger ones are refused before they are decoded.

    Raises:
        SegtoolError: models of different classes.
    """
    names = list(models)
    card = models[names[0]].card
    for name in names[1:]:
        if models[name].card.classes != card.classes:
            raise SegtoolError("models of different classes cannot be compared", where=f"{names[0]}, {name}")
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
                chosen = gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1, elem_id="model")
                other = gr.Dropdown(
                    [(_ALONE, ""), *names], value="", label="Compare with", visible=len(names) > 1, elem_id="other"
                )
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
        segment = _segmenter(models, max_pixels)
        inputs, outputs = [upload, opacity, only, chosen, other], [result, *shown, timing, legend, heat, numbers]
        gr.on([chosen.input, other.input], _if_uploaded(segment), inputs, outputs, api_visibility="private")
        gr.on(
            [button.click, upload.upload],
            segment,
            inputs,
            outputs,
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


def _segmenter(models: dict[str, Model], max_pixels: int) -> Callable[..., list[Any]]:
    def segment(path: str | None, opacity: float, only: list[int], chosen: str, other: str) -> list[Any]:
        if path is None:
            raise gr.Error("Upload an image first.")
        try:
            image = read_image(Path(path), max_pixels)
            result = _timed(models[chosen], image)
            second = _timed(models[other], image).prediction if other else None
        except SegtoolError as error:
            # The path is the server's temporary file, of no use to the person.
            raise gr.Error(error.what) from error
        result = result._replace(other=second, names=(chosen, other))
        card = models[chosen].card
        drawn, legend = _drawn(result, card, opacity, only), legend_html(card, result.prediction.labels)
        return [result, *drawn, _timing(result), legend, confidence_map(result), areas(result, card)]

    return segment


def _if_uploaded(segment: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def again(path: str | None, *settings: Any) -> list[Any]:
        return [gr.skip()] * 7 if path is None else segment(path, *settings)

    return again


def _timed(model: Model, image: RGB) -> Result:
    start = time.perf_counter()
    prediction = model(image)
    return Result(image, prediction, time.perf_counter() - start)


def _redrawer(card: ModelCard) -> Callable[..., list[Any]]:
    def redraw(result: Result | None, opacity: float, only: list[int]) -> list[Any]:
        return [gr.skip(), gr.skip()] if result is None else _drawn(result, card, opacity, only)

    return redraw


def _drawn(result: Result, card: ModelCard, opacity: float, only: list[int]) -> list[Any]:
    """The slider with its pictures, and the links to the files."""
    label = _slider_label(card) if result.other is None else f"{result.names[0]} | {result.names[1]}, differences red"
    pictures = before_and_after(result, card, opacity, only)
    return [gr.update(value=pictures, label=label), download_links(result, card, opacity)]


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
    if result.other is not None:
        apart = float((result.prediction.labels != result.other.labels).mean())
        parts.append(f"the two models disagree on {100 * apart:.2f} % of the pixels")
    elif result.prediction.unary_labels is not None:
        changed = float((result.prediction.labels != result.prediction.unary_labels).mean())
        parts.append(f"the CRF changed {100 * changed:.1f} % of the labels")
    return " · ".join(parts)
