"""A model card comes from anywhere: what cannot be is refused in one line, naming the field."""

import json
import math

import pytest

from segtool.card import parse_card
from segtool.errors import SegtoolError

CARD = {
    "schema_version": 2,
    "architecture": "FPN",
    "encoder": "resnet18",
    "classes": [{"id": i, "name": f"class {i}", "color": [i, 0, 0]} for i in range(2)],
    "crf": {
        "spatial_gamma": 3.0,
        "bilateral_alpha": 40.0,
        "bilateral_beta": 13.0,
        "iterations": 5,
        "unary_scale": [1.0, 1.0],
        "spatial_compatibility": [[1.0, 0.0], [0.0, 1.0]],
        "bilateral_compatibility": [[1.0, 0.0], [0.0, 1.0]],
    },
    "trained_on": {"dataset": "synthetic", "split": "train", "image_count": 3, "fingerprint": "0"},
    "seed": 0,
    "config": {},
    "packages": {},
}


def changed(path, value):
    card = json.loads(json.dumps(CARD))
    *way, last = path.split(".")
    place = card
    for part in way:
        place = place[int(part)] if part.isdigit() else place.setdefault(part, {})
    place[int(last) if last.isdigit() else last] = value
    return json.dumps(card)


def test_the_card_itself_is_read():
    assert parse_card(json.dumps(CARD), "m.onnx").names == ["class 0", "class 1"]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("input.stride", 2**40, "input.stride"),
        ("input.std", [0.2, 0.0, 0.2], "input.std.1"),
        ("crf.iterations", 2**31, "crf.iterations"),
        ("crf.spatial_gamma", 1e300, "crf.spatial_gamma"),
        ("crf.unary_scale", [], "crf.unary_scale"),
        ("crf.unary_scale", [1.0, math.nan], "crf.unary_scale"),
        ("crf.unary_scale", [1.0, 1.0, 1.0], "spatial_compatibility must be 3x3"),
        ("crf.spatial_compatibility", [[1.0, 0.0], [0.0]], "spatial_compatibility must be 2x2"),
        ("classes", [], "classes"),
        ("classes", CARD["classes"][:1], "the CRF has 2 classes, the model 1"),
        ("classes.1.id", 0, "the class ids must be 0..1, each once and in order"),
        ("classes", [{"id": i % 255, "name": "x", "color": [0, 0, 0]} for i in range(400)], "classes"),
        ("crf.temperature", math.inf, "crf.temperature"),
        ("schema_version", 99, "schema version 99"),
    ],
)
def test_what_cannot_be_is_refused(path, value, said):
    with pytest.raises(SegtoolError) as refused:
        parse_card(changed(path, value), "m.onnx")
    assert said in str(refused.value)
    assert "m.onnx" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_names_are_shown_and_not_obeyed():
    assert parse_card(changed("classes.0.name", "a\x1b[2J"), "m.onnx").names[0] == "a\\x1b[2J"
