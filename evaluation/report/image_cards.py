"""What the report holds of one image: scores, and its pictures as data URIs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segtool.card import ClassInfo
from segtool.drawing import data_uri
from segtool.evaluation.examine import Examined
from segtool.evaluation.failures import failure_row
from segtool.evaluation.table import Row

LARGEST_SIDE = 640  # pixels; pictures in a report are reduced to that
_TRANSPARENT, _WRONG, _VOID = 0, 1, 2
Card = dict[str, Any]
Labels = NDArray[np.uint8]


def evaluation_card(image: Examined, classes: Sequence[ClassInfo]) -> Card:
    """An image of an evaluation."""
    row, failure = image.row, failure_row(image, classes)
    has_errors = image.diagnosis.pair is not None
    errors = f"{failure['true_class']} as {failure['predicted_class']} {100 * failure['share_of_errors']:.0f} %"
    cause = image.blame.cause if image.blame else ""
    layers = {"truth": image.sample.labels, "prediction": image.prediction.labels}
    if image.prediction.unary_labels is not None:
        layers["before CRF"] = image.prediction.unary_labels
    if image.prediction.context_labels is not None:
        layers["after context"] = image.prediction.context_labels
    card = base_card(row, image.sample.image, classes) | {
        "kind": failure["kind"] if has_errors else "",
        "errors": errors if has_errors else "",
        "cause": cause,
        "layers": {
            **{name: label_layer(labels, classes) for name, labels in layers.items()},
            "errors": error_layer(image.sample.labels, image.prediction.labels, len(classes)),
        },
    }
    card["text"] = _text(card, cause)
    return card


def base_card(row: Row, picture: NDArray[np.uint8], classes: Sequence[ClassInfo]) -> Card:
    """Scores and the image itself."""
    names = ("miou", "boundary_f_2px", "pixel_accuracy", "confidence", "void", "crf_gain")
    return {
        "image": row["image"],
        "width": row["width"],
        "height": row["height"],
        **{name: _number(row[name]) for name in names if name in row},
        "class_iou": [_number(row[f"iou_{c.name}"]) for c in classes],
        "picture": _jpeg(picture),
    }


def _text(card: Card, cause: str) -> str:
    parts = [f"mIoU {_percent(card['miou'])}", f"pixel accuracy {_percent(card['pixel_accuracy'])}"]
    if "crf_gain" in card:
        parts.append(f"CRF {_percent(card['crf_gain'], '+')} points" + (f" ({_by(cause)})" if cause else ""))
    if card["errors"]:
        parts.append(f"{card['kind']}; most errors: {card['errors']}")
    return " · ".join(parts)


def _by(cause: str) -> str:
    return cause if cause == "context" else f"{cause} kernel"


def _percent(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{100 * value:{sign}.1f}"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 5)


def label_layer(labels: Labels, classes: Sequence[ClassInfo]) -> str:
    """Class ids [H,W] in the classes' colours; void is transparent."""
    return _png(labels, [c.color for c in classes], bytes([255] * len(classes) + [0] * (256 - len(classes))))


def error_layer(truth: Labels, predicted: Labels, classes: int) -> str:
    """Wrong pixels red, void black, the rest transparent."""
    layer = np.where(truth == predicted, _TRANSPARENT, _WRONG).astype(np.uint8)
    layer[truth >= classes] = _VOID
    return _png(layer, [(0, 0, 0), (230, 30, 30), (0, 0, 0)], bytes([0] + [255] * 255))


def _png(ids: Labels, colors: Sequence[tuple[int, int, int]], alpha: bytes) -> str:
    image = Image.fromarray(ids)
    image = image.resize(_reduced(image.size), Image.Resampling.NEAREST)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    image.putpalette(palette.tobytes())
    return data_uri(image, "PNG", transparency=alpha, optimize=True)


def _jpeg(picture: NDArray[np.uint8]) -> str:
    image = Image.fromarray(picture)
    return data_uri(image.resize(_reduced(image.size), Image.Resampling.LANCZOS), "JPEG", quality=82)


def _reduced(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, LARGEST_SIDE / max(size))
    return max(1, round(scale * size[0])), max(1, round(scale * size[1]))
