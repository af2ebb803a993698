"""One page: upload an image, compare the labels before and after the CRF, take what you need home."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from segtool.card import ModelCard
from segtool.demo.answers import (
    Predictor,
    Stages,
    if_uploaded,
    measurer,
    naming_what_is_no_image,
    redrawer,
    retuner,
    segmenter,
    slider_label,
)
from segtool.demo.crf import Tuner, sliders
from segtool.demo.door import Door, without_empty_sessions
from segtool.demo.legend import legend_choices, legend_style
from segtool.demo.many import many_images
from segtool.demo.uploads import only_uploads
from segtool.errors import SegtoolError
from segtool.sources import find

_MAX_FILE = "32mb"
_WAITING = 32  # requests that may wait; more are refused with a message
_ALONE = "nothing: before and after the CRF"
_MINUTES = 15  # for which results and files of a visitor are kept


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
    only_uploads(page)
    page.queue(max_size=_WAITING, default_concurrency_limit=2)
    without_empty_sessions(page)
    for function in page.fns.values():
        function.queue = True  # those of examples too: what goes past the queue is not let in
    return page


def launch(page: gr.Blocks, **options: Any) -> None:
    """Serves a page in threads of its own, with its limits.

    Args:
        options: of gradio's `launch`, such as `server_name`.

    Raises:
        OSError: the port is taken.
    """
    page.launch(
        quiet=True,
        prevent_thread_lock=True,
        footer_links=["api"],
        max_file_size=_MAX_FILE,
        state_session_capacity=64,
        app_kwargs={"middleware": [Middleware(Door)]},
        **options,
    )


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
            upload = _upload(card)
            chosen = gr.Dropdown(names, value=names[0], label="Model", visible=several, elem_id="model")
            other = gr.Dropdown(
                [(_ALONE, ""), *names], value="", label="Compare with", visible=several, elem_id="other"
            )
            button = gr.Button("Segment", variant="primary")
            opacity = gr.Slider(0, 1, 0.55, step=0.05, label="Opacity of the labels", elem_id="opacity")
            both = any(model.card.context is not None and model.card.crf is not None for model in models.values())
            after_context = gr.Checkbox(
                False, label="Left: after the contextual CRF", visible=both, elem_id="after_context"
            )
            if tuner is not None and tuner.card.crf is not None:
                with gr.Accordion("CRF, in PyTorch", open=False, elem_id="crf"):
                    parameters = sliders(tuner.card.crf)
        with gr.Column(scale=2):
            slider = gr.ImageSlider(label=slider_label(card), type="numpy", elem_id="result", max_height=720)
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
    segment = segmenter(models, max_pixels)
    inputs = [upload, opacity, only, chosen, other]
    outputs = [result, *shown, timing, only, style, heat, numbers]
    again = gr.on([chosen.input, other.input], if_uploaded(segment), inputs, outputs, api_visibility="private")
    first = gr.on(
        [button.click, upload.upload],
        segment,
        inputs,
        outputs,
        api_name="segment",
        api_description="Segments an image file; the last of the answers holds the area of each class.",
    )
    # The model is not asked again for what is only drawn differently.
    look = [result, opacity, only, after_context]
    redrawn = [opacity.release, only.input, after_context.input]
    redraw = redrawer(card)
    gr.on(redrawn, redraw, look, shown, api_visibility="private")
    if both:
        for answer in (again, first):  # as the box says, which whoever calls /segment knows nothing of
            answer.success(redraw, look, shown, api_visibility="private")
    measure.click(measurer(stages), [result, chosen], parts, api_visibility="private")
    if tuner is not None and tuner.card.crf is not None:
        gr.on(
            [parameter.input for parameter in parameters],
            retuner(tuner),
            [*look, *parameters],
            outputs,
            api_visibility="private",
            trigger_mode="always_last",  # live, but not one answer for every pixel that the mouse moves
            show_progress="hidden",
        )


def _upload(card: ModelCard) -> Any:
    """Where the image is dropped; no browser shows one of many bands."""
    if card.input.bands is not None:
        label = f"Image file, {len(card.input.bands)} bands of {card.input.kind}"
        return gr.File(type="filepath", label=label, file_types=[".tif", ".tiff", ".png", ".jpg"], elem_id="upload")
    # image_mode=None: the file as it was uploaded, not converted by gradio.
    sources: Any = ["upload", "clipboard", "webcam"]
    upload = gr.Image(type="filepath", image_mode=None, label="Image", sources=sources, elem_id="upload")
    upload.preprocess = naming_what_is_no_image(upload.preprocess)
    return upload


def _heading(card: ModelCard) -> str:
    text = f"## {card.architecture} · {card.encoder}\nTrained on {card.trained_on.dataset}"
    text += f" ({card.trained_on.image_count} images)"
    if card.validation is not None:
        best = card.validation.after_crf or card.validation.before_crf
        text += f", validation mIoU {100 * best.miou:.1f} %"
    if card.context is not None:
        text += f", contextual CRF with {card.context.iterations} mean-field iterations"
    if card.crf is not None:
        text += f", dense CRF with {card.crf.iterations} mean-field iterations"
    return text
