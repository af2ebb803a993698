"""What the page shows of a prediction."""

import base64
import json
from typing import NamedTuple

import numpy as np
from PIL import Image

from segtool.card import ModelCard
from segtool.drawing import as_palette_image, data_uri, overlay
from segtool.images import RGB
from segtool.prediction import Prediction
from segtool.readers import Image as Taken

# Dark blue where the model is unsure, over green, to yellow where it is sure: five points of the viridis map.
_HEAT = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], np.float64)

_DIFFERENT = (255, 0, 0)


class Result(NamedTuple):
    """An image and what the model says of it; and what another model says, if asked.

    Attributes:
        image: as it is shown; taken: as the model takes it.
        seconds: of the model.
        read: seconds to read the image.
    """

    image: RGB
    taken: Taken
    prediction: Prediction
    seconds: float
    other: Prediction | None = None
    names: tuple[str, str] = ("", "")
    read: float = 0.0


def before_and_after(
    result: Result, card: ModelCard, opacity: float, only: list[int], after_context: bool = False
) -> tuple[RGB, RGB]:
    """The image under the labels before and after the CRF; without a CRF, the image alone and under its labels.

    With another model's answer: under the labels of both, where they differ in red on the second.

    Args:
        opacity: of the labels, 0..1.
        only: class ids to show; all if empty.
        after_context: whether the first is after the contextual CRF, where there is a dense one too.
    """
    prediction = result.prediction
    if result.other is not None:
        first = _overlay(result.image, prediction.labels, card, opacity, only)
        second = _overlay(result.image, result.other.labels, card, opacity, only)
        second[prediction.labels != result.other.labels] = _DIFFERENT
        return first, second
    after = _overlay(result.image, prediction.labels, card, opacity, only)
    if prediction.unary_labels is None:
        return result.image, after
    between = prediction.context_labels if after_context else None
    before = prediction.unary_labels if between is None else between
    return _overlay(result.image, before, card, opacity, only), after


def _overlay(image: RGB, labels: np.ndarray, card: ModelCard, opacity: float, only: list[int]) -> RGB:
    mixed = overlay(image, labels, card.colors, opacity)
    if only:
        others = ~np.isin(labels, only)
        mixed[others] = image[others] // 3 + 40  # dim, so that what is left stands out
    return mixed


def confidence_map(result: Result) -> RGB:
    """The probability of the winning class as colours, from 0 (dark) to 1 (yellow)."""
    place = np.clip(result.prediction.confidence, 0, 1) * (len(_HEAT) - 1)
    low = np.minimum(place.astype(int), len(_HEAT) - 2)
    share = (place - low)[..., None]
    return np.round((1 - share) * _HEAT[low] + share * _HEAT[low + 1]).astype(np.uint8)


def download_links(result: Result, card: ModelCard, opacity: float) -> str:
    """Links to mask.png (class ids with a palette), overlay.jpg and areas.json, as HTML.

    The files are in the links: nothing is kept on the server, and nothing of the upload's metadata is in them.
    """
    mixed = overlay(result.image, result.prediction.labels, card.colors, opacity)
    numbers = base64.b64encode(json.dumps(areas(result, card), indent=2).encode()).decode()
    files = {
        "mask.png": data_uri(as_palette_image(result.prediction.labels, card.colors)),
        "overlay.jpg": data_uri(Image.fromarray(mixed), "JPEG", quality=92),
        "areas.json": f"data:application/json;base64,{numbers}",
    }
    links = (f"<a download='{name}' href='{address}'>{name}</a>" for name, address in files.items())
    return f"<p class='downloads'>Download: {' · '.join(links)}</p>"


def areas(result: Result, card: ModelCard) -> dict[str, object]:
    """Size, time, and of each class that occurs its pixels and share, the largest first."""
    labels = result.prediction.labels
    pixels = np.bincount(labels.ravel(), minlength=256)
    found = sorted((c for c in card.classes if pixels[c.id]), key=lambda c: -pixels[c.id])
    return {
        "width": labels.shape[1],
        "height": labels.shape[0],
        "milliseconds": round(1000 * result.seconds, 1),
        "mean_confidence": round(float(result.prediction.confidence.mean()), 4),
        "classes": [
            {"id": c.id, "name": c.name, "pixels": int(pixels[c.id]), "share": pixels[c.id] / labels.size}
            for c in found
        ],
    }
