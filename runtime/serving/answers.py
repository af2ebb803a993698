"""A prediction as the bytes of an answer."""

import io
import json
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtool.card import ModelCard
from segtool.drawing import as_palette_image, png_bytes
from segtool.prediction import Prediction

Form = Literal["png", "rle", "npz"]


class Answer(NamedTuple):
    """What goes back to the client.

    Attributes:
        body: the file.
        media_type: its MIME type.
        seconds: of each step, by name.
    """

    body: bytes
    media_type: str
    seconds: dict[str, float]


def encode(prediction: Prediction, card: ModelCard, form: Form) -> tuple[bytes, str]:
    """The prediction as a file, and its MIME type.

    png: class ids [H,W] with the classes' colours as palette. rle: JSON, see `run_lengths`. npz: NumPy arrays labels,
    confidence (float16), with a CRF unary_labels, and with a contextual and a dense one context_labels.
    """
    if form == "png":
        return png_bytes(as_palette_image(prediction.labels, card.colors)), "image/png"
    if form == "rle":
        return json.dumps(run_lengths(prediction, card)).encode(), "application/json"
    return _arrays(prediction), "application/x-npz"


def run_lengths(prediction: Prediction, card: ModelCard) -> dict[str, Any]:
    """Size, and of each class that occurs its pixels, share, mean confidence and mask.

    A mask is COCO's uncompressed run-length encoding: `counts` are the lengths of runs of other and of this class in
    turn, down the columns from the left; `size` is height and width. pycocotools' `frPyObjects` reads it.
    """
    labels = prediction.labels
    classes = []
    for info in card.classes:
        mask = labels == info.id
        pixels = int(mask.sum())
        if pixels:
            classes.append(
                {
                    "id": info.id,
                    "name": info.name,
                    "pixels": pixels,
                    "share": pixels / labels.size,
                    "mean_confidence": round(float(prediction.confidence[mask].mean()), 4),
                    "segmentation": {"size": list(labels.shape), "counts": _runs(mask)},
                }
            )
    return {"height": labels.shape[0], "width": labels.shape[1], "classes": classes}


def _runs(mask: NDArray[np.bool_]) -> list[int]:
    column_major = mask.ravel(order="F")
    changes = np.flatnonzero(column_major[1:] != column_major[:-1]) + 1
    ends = np.concatenate([[0] if column_major[0] else [], [0], changes, [column_major.size]]).astype(np.int64)
    return np.diff(ends).tolist()


def _arrays(prediction: Prediction) -> bytes:
    between = {"unary_labels": prediction.unary_labels, "context_labels": prediction.context_labels}
    before = {name: labels for name, labels in between.items() if labels is not None}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        labels=prediction.labels,
        confidence=prediction.confidence.astype(np.float16),
        **before,
    )
    return buffer.getvalue()
