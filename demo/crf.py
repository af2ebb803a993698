"""The CRF's parameters as sliders, for models that PyTorch runs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gradio as gr

from segtool.card import CrfCard, ModelCard
from segtool.prediction import Prediction
from segtool.readers import Image


class Tuner(NamedTuple):
    """A model whose CRF can be changed.

    Attributes:
        card: the model's.
        predict: an image under another CRF; fast for an image that it has seen just before.
    """

    card: ModelCard
    predict: Callable[[Image, CrfCard], Prediction]


def changed(
    crf: CrfCard, spatial: float, bilateral: float, gamma: float, alpha: float, beta: float, iterations: float
) -> CrfCard:
    """The CRF with other widths and iterations, and its compatibilities times `spatial` and `bilateral`."""
    return crf.model_copy(
        update={
            "spatial_compatibility": _times(crf.spatial_compatibility, spatial),
            "bilateral_compatibility": _times(crf.bilateral_compatibility, bilateral),
            "spatial_gamma": gamma,
            "bilateral_alpha": alpha,
            "bilateral_beta": beta,
            "iterations": int(iterations),
        }
    )


def sliders(crf: CrfCard) -> list[Any]:
    """The arguments of `changed`, as they are in the model to begin with."""
    return [
        gr.Slider(0, 3, 1, step=0.05, label="Spatial weight, times the learned", elem_id="spatial"),
        gr.Slider(0, 3, 1, step=0.05, label="Bilateral weight, times the learned", elem_id="bilateral"),
        gr.Slider(0.5, max(10, crf.spatial_gamma), crf.spatial_gamma, label="γ: spatial width, pixels"),
        gr.Slider(5, max(160, crf.bilateral_alpha), crf.bilateral_alpha, label="α: bilateral width, pixels"),
        gr.Slider(3, max(40, crf.bilateral_beta), crf.bilateral_beta, label="β: bilateral width, colour levels"),
        gr.Slider(1, 20, crf.iterations, step=1, label="Mean-field iterations", elem_id="iterations"),
    ]


def _times(table: list[list[float]], weight: float) -> list[list[float]]:
    return [[weight * value for value in row] for row in table]
