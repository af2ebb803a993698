"""One page: upload an image, compare the labels before and after the CRF, take what you need home."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from PIL import Image, UnidentifiedImageError

# Before gradio is imported: a demo of one's own images tells nobody.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from segtool.card import ModelCard
from segtool.demo.crf import Tuner, changed, sliders
from segtool.demo.legend import legend_choices, legend_style
from segtool.demo.many import many_images
from segtool.demo.pictures import Result, areas, before_and_after, confidence_map, download_links
from segtool.demo.refusal import refusal
from segtool.errors import SegtoolError
from segtool.images import RGB, read_image
from segtool.prediction import Prediction
from segtool.sources import find

MAX_FILE = "32mb"
_WAITING = 32  # requests that may wait; more are refused with a message
_ALONE = "nothing: before and after the CRF"
_MINUTES = 15  # for which results and files of a visitor are kept

Stages = Callable[[RGB], dict[str, float]]


class Predictor(Protocol):
    """A model, whatever runs it."""

    card: ModelCard

    def __call__(self, image: RGB) -> Prediction:
        """Segments uint8 [H,W,3]."""
        ...


def build_demo(
    models: Mapping[str, Predictor],
    examples: Path | None,
    max_pixels: int,
    *,
    tuner: Tuner | None = None,
    stages: Mapping[str, Stages] | None = None,
) -> gr.Blocks:
    """The page for one model, or for several to choose from and to compare.

    Args:
        models: by the names that visitors see; of the same classes.
        examples: a folder of images to click on.
        max_pixels: of an upload; larger ones are refused before they are decoded.
        tuner: a model whose CRF visitors may change.
        stages: by name, shares of the time that a model spends in its parts.

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
        with gr.Tab("One image"):
            _one_image(models, card, examples, max_pixels, tuner, stages or {})
        with gr.Tab("Many images"):
            many_images(models, card, max_pixels)
    page.queue(max_size=_WAITING, default_concurrency_limit=2)
    return page


def _one_image(
    models: Mapping[str, Predictor],
    card: ModelCard,
    examples: Path | None,
    max_pixels: int,
    tuner: Tuner | None,
    stages: Mapping[str, Stages],
) -> None:
    names = list(models)
    several = len(names) > 1
    choices = legend_choices(card, None)
    result = gr.State(time_to_live=60 * _MINUTES)
    style = gr.HTML(legend_style(card, choices, "only"), elem_id="style", visible="hidden")
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
            chosen = gr.Dropdown(names, value=names[0], label="Model", visible=several, elem_id="model")
            other = gr.Dropdown(
                [(_ALONE, ""), *names], value="", label="Compare with", visible=several, elem_id="other"
            )
            button = gr.Button("Segment", variant="primary")
            opacity = gr.Slider(0, 1, 0.55, step=0.05, label="Opacity of the labels", elem_id="opacity")
            if tuner is not None and tuner.card.crf is not None:
                with gr.Accordion("CRF, in PyTorch", open=False, elem_id="crf"):
                    parameters = sliders(tuner.card.crf)
        with gr.Column(scale=2):
            slider = gr.ImageSlider(label=_slider_label(card), type="numpy", elem_id="result", max_height=720)
            timing = gr.Markdown(elem_id="timing")
            only = gr.CheckboxGroup(choices, label="Classes: choose some to see them alone", elem_id="only")
            downloads = gr.HTML(elem_id="downloads")
            with gr.Accordion("Confidence", open=False, elem_id="confidence"):
                heat = gr.Image(label="Dark: unsure. Yellow: sure.", interactive=False, buttons=["fullscreen"])
            with gr.Accordion("Where the time goes", open=False, visible=bool(stages), elem_id="stages"):
                measure = gr.Button("Measure", elem_id="measure")
                parts = gr.Markdown(elem_id="parts")
            with gr.Accordion("Numbers", open=False):
                numbers = gr.JSON(elem_id="numbers")
    if examples is not None:
        gr.Examples([str(examples / path) for path in find(examples).images[:8]], upload)
    shown = [slider, downloads]
    segment = _segmenter(models, max_pixels)
    inputs = [upload, opacity, only, chosen, other]
    outputs = [result, *shown, timing, only, style, heat, numbers]
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
    gr.on([opacity.release, only.input], _redrawer(card), [result, opacity, only], shown, api_visibility="private")
    measure.click(_measurer(stages), [result, chosen], parts, api_visibility="private")
    if tuner is not None and tuner.card.crf is not None:
        gr.on(
            [parameter.input for parameter in parameters],
            _retuner(tuner),
            [result, opacity, only, *parameters],
            outputs,
            api_visibility="private",
            trigger_mode="always_last",  # live, but not one answer for every pixel that the mouse moves
            show_progress="hidden",
        )


def _naming_what_is_no_image(preprocess: Callable[..., Any]) -> Callable[..., Any]:
    """Gradio opens an upload before the answer does, and would say no more than "Error".

    A subclass of gr.Image would be the usual way, but gradio writes a stub file beside its module.
    """

    def checked(payload: Any) -> Any:
        try:
            return preprocess(payload)
        except Image.DecompressionBombError as error:
            raise refusal("That image is far too large.") from error
        except (UnidentifiedImageError, OSError) as error:
            raise refusal("That file is not an image.") from error

    return checked


def _segmenter(models: Mapping[str, Predictor], max_pixels: int) -> Callable[..., list[Any]]:
    def segment(path: str | None, opacity: float, only: list[int], chosen: str, other: str) -> list[Any]:
        if path is None:
            raise refusal("Upload an image first.")
        try:
            start = time.perf_counter()
            image = read_image(Path(path), max_pixels)
            read = time.perf_counter()
            prediction = models[chosen](image)
            seconds = time.perf_counter() - read
            second = models[other](image) if other else None
        except SegtoolError as error:
            # The path is the server's temporary file, of no use to the person.
            raise refusal(error.what) from error
        result = Result(image, prediction, seconds, second, (chosen, other), read - start)
        return _answers(result, models[chosen].card, opacity, only)

    return segment


def _answers(result: Result, card: ModelCard, opacity: float, only: list[int]) -> list[Any]:
    start = time.perf_counter()
    drawn = _drawn(result, card, opacity, only)
    choices = legend_choices(card, result.prediction.labels)
    heat, numbers = confidence_map(result), areas(result, card)
    line = _timing(result, time.perf_counter() - start)
    legend = [gr.update(choices=choices, value=only), legend_style(card, choices, "only")]
    return [result, *drawn, line, *legend, heat, numbers]


def _if_uploaded(segment: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def again(path: str | None, *settings: Any) -> list[Any]:
        return [gr.skip()] * 8 if path is None else segment(path, *settings)

    return again


def _retuner(tuner: Tuner) -> Callable[..., list[Any]]:
    """The image under other parameters of the CRF; the network has seen it."""

    def retune(result: Result | None, opacity: float, only: list[int], *parameters: float) -> list[Any]:
        if result is None:
            return [gr.skip()] * 8
        assert tuner.card.crf is not None
        start = time.perf_counter()
        prediction = tuner.predict(result.image, changed(tuner.card.crf, *parameters))
        seconds = time.perf_counter() - start
        return _answers(Result(result.image, prediction, seconds, read=0.0), tuner.card, opacity, only)

    return retune


def _measurer(stages: Mapping[str, Stages]) -> Callable[..., str]:
    """A table of a model's parts, measured on the image that is shown."""

    def measure(result: Result | None, chosen: str) -> str:
        if result is None or result.names[0] != chosen:  # the sliders' answer is not the model's
            raise refusal("Segment an image with this model first.")
        if chosen not in stages:
            raise refusal("Only what ONNX Runtime runs can be measured in parts.")
        shares = stages[chosen](result.image)
        rows = [
            f"| {name} | {1000 * share * result.seconds:.0f} ms | {100 * share:.0f} % |"
            for name, share in shares.items()
        ]
        return "\n".join(["| part of the model | time | share |", "|---|---|---|", *rows])

    return measure


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


def _timing(result: Result, drawing: float) -> str:
    height, width = result.prediction.labels.shape
    steps = [("reading", result.read), ("model", result.seconds), ("drawing", drawing)]
    parts = [
        f"{height}x{width} pixels",
        " + ".join(f"{name} **{1000 * seconds:.0f} ms**" for name, seconds in steps),
        f"mean confidence {result.prediction.confidence.mean():.2f}",
    ]
    if result.other is not None:
        apart = float((result.prediction.labels != result.other.labels).mean())
        parts.append(f"the two models disagree on {100 * apart:.2f} % of the pixels")
    elif result.prediction.unary_labels is not None:
        moved = float((result.prediction.labels != result.prediction.unary_labels).mean())
        parts.append(f"the CRF changed {100 * moved:.1f} % of the labels")
    return " · ".join(parts)
