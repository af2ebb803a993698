"""What the page does when somebody uploads an image or moves something."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import gradio as gr
from PIL import Image, UnidentifiedImageError

from segtool.card import ModelCard
from segtool.demo.crf import Tuner, changed
from segtool.demo.legend import legend_choices, legend_style
from segtool.demo.pictures import Result, areas, before_and_after, confidence_map, download_links
from segtool.demo.refusal import refusal
from segtool.errors import SegtoolError
from segtool.prediction import Prediction, voided
from segtool.readers import Image as Taken
from segtool.readers import reader_of

Stages = Callable[[Taken], dict[str, float]]


class Predictor(Protocol):
    """A model, whatever runs it."""

    card: ModelCard

    def __call__(self, image: Taken) -> Prediction:
        """Segments an image as the card says it is."""
        ...


def naming_what_is_no_image(preprocess: Callable[..., Any]) -> Callable[..., Any]:
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


def segmenter(models: Mapping[str, Predictor], max_pixels: int) -> Callable[..., list[Any]]:
    def segment(path: str | None, opacity: float, only: list[int], chosen: str, other: str) -> list[Any]:
        if path is None:
            raise refusal("Upload an image first.")
        try:
            start = time.perf_counter()
            reader = reader_of(models[chosen].card.input)
            opened = reader.open(Path(path), max_pixels)
            read = time.perf_counter()
            prediction = voided(models[chosen](opened.values), opened.missing)
            seconds = time.perf_counter() - read
            second = _answer_of(models[other], Path(path), max_pixels) if other else None
        except SegtoolError as error:
            # The path is the server's temporary file, of no use to the person.
            raise refusal(error.what) from error
        picture = reader.picture(opened.values)
        result = Result(picture, opened.values, prediction, seconds, second, (chosen, other), read - start)
        return _answers(result, models[chosen].card, opacity, only)

    return segment


def _answer_of(model: Predictor, path: Path, max_pixels: int) -> Prediction:
    """Of a model that may read files in another way."""
    opened = reader_of(model.card.input).open(path, max_pixels)
    return voided(model(opened.values), opened.missing)


def _answers(
    result: Result, card: ModelCard, opacity: float, only: list[int], after_context: bool = False
) -> list[Any]:
    start = time.perf_counter()
    drawn = _drawn(result, card, opacity, only, after_context)
    choices = legend_choices(card, result.prediction.labels)
    heat, numbers = confidence_map(result), areas(result, card)
    line = _timing(result, time.perf_counter() - start)
    legend = [gr.update(choices=choices, value=only), legend_style(card, choices, "only")]
    return [result, *drawn, line, *legend, heat, numbers]


def if_uploaded(segment: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def again(path: str | None, *settings: Any) -> list[Any]:
        return [gr.skip()] * 8 if path is None else segment(path, *settings)

    return again


def retuner(tuner: Tuner) -> Callable[..., list[Any]]:
    """The image under other parameters of the CRF; the network has seen it."""

    def retune(
        result: Result | None, opacity: float, only: list[int], after_context: bool, *parameters: float
    ) -> list[Any]:
        if result is None:
            return [gr.skip()] * 8
        assert tuner.card.crf is not None
        start = time.perf_counter()
        prediction = tuner.predict(result.taken, changed(tuner.card.crf, *parameters))
        seconds = time.perf_counter() - start
        return _answers(
            Result(result.image, result.taken, prediction, seconds, read=0.0), tuner.card, opacity, only, after_context
        )

    return retune


def measurer(stages: Mapping[str, Stages]) -> Callable[..., str]:
    """A table of a model's parts, measured on the image that is shown."""

    def measure(result: Result | None, chosen: str) -> str:
        if result is None or result.names[0] != chosen:  # the sliders' answer is not the model's
            raise refusal("Segment an image with this model first.")
        if chosen not in stages:
            raise refusal("Only what ONNX Runtime runs can be measured in parts.")
        shares = stages[chosen](result.taken)
        rows = [
            f"| {name} | {1000 * share * result.seconds:.0f} ms | {100 * share:.0f} % |"
            for name, share in shares.items()
        ]
        return "\n".join(["| part of the model | time | share |", "|---|---|---|", *rows])

    return measure


def redrawer(card: ModelCard) -> Callable[..., list[Any]]:
    def redraw(result: Result | None, opacity: float, only: list[int], after_context: bool) -> list[Any]:
        return [gr.skip(), gr.skip()] if result is None else _drawn(result, card, opacity, only, after_context)

    return redraw


def _drawn(result: Result, card: ModelCard, opacity: float, only: list[int], after_context: bool) -> list[Any]:
    """The slider with its pictures, and the links to the files."""
    label = slider_label(card, after_context and result.prediction.context_labels is not None)
    if result.other is not None:
        label = f"{result.names[0]} | {result.names[1]}, differences red"
    pictures = before_and_after(result, card, opacity, only, after_context)
    return [gr.update(value=pictures, label=label), download_links(result, card, opacity)]


def slider_label(card: ModelCard, after_context: bool = False) -> str:
    if after_context:
        return "After the contextual CRF | after the dense CRF"
    return "Before the CRF | after the CRF" if card.has_crf else "Image | labels"


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
