"""What the page draws, without the page."""

import numpy as np

from segtool.card import ModelCard
from segtool.demo.legend import legend_choices, legend_style
from segtool.demo.pictures import Result, before_and_after, confidence_map
from segtool.prediction import Prediction
from segtool.runtime import load


def test_legend_names_classes_with_their_share(tiny_onnx):
    card: ModelCard = load(tiny_onnx).card
    choices = legend_choices(card, np.array([[0, 0], [0, 1]], np.uint8))
    assert choices[:2] == [("ground  75.0 %", 0), ("disk  25.0 %", 1)]
    assert [name for name, _ in choices[2:]] == ["block", "wedge", "pole"]
    style = legend_style(card, choices, "only")
    assert f"label:nth-of-type(2) span::before{{background:rgb{card.colors[1]}}}" in style
    assert "label:nth-of-type(3){opacity" in style
    assert "label:nth-of-type(1){opacity" not in style


def test_where_two_models_differ_is_red(tiny_onnx):
    card = load(tiny_onnx).card
    image, ones = np.full((1, 2, 3), 200, np.uint8), np.ones((1, 2), np.float32)
    first, second = (Prediction(np.array([labels], np.uint8), ones) for labels in ([0, 1], [0, 2]))
    left, right = before_and_after(Result(image, image, first, 0.1, second, ("a", "b")), card, 1.0, [])
    assert [tuple(p) for p in left[0]] == [card.colors[0], card.colors[1]]
    assert [tuple(p) for p in right[0]] == [card.colors[0], (255, 0, 0)]


def test_confidence_colours_go_from_dark_to_yellow():
    confidence = np.array([[0.0, 0.25, 1.0]], np.float32)
    result = Result(*2 * [np.zeros((1, 3, 3), np.uint8)], Prediction(np.zeros((1, 3), np.uint8), confidence), 0.1)
    assert confidence_map(result).tolist() == [[[68, 1, 84], [59, 82, 139], [253, 231, 37]]]


def test_only_the_chosen_classes_are_coloured(tiny_onnx):
    card = load(tiny_onnx).card
    image, labels = np.full((1, 2, 3), 200, np.uint8), np.array([[0, 1]], np.uint8)
    result = Result(image, image, Prediction(labels, np.ones((1, 2), np.float32), labels), 0.1)
    _, all_shown = before_and_after(result, card, 1.0, [])
    _, one_shown = before_and_after(result, card, 1.0, [1])
    assert tuple(all_shown[0, 0]) == card.colors[0]
    assert tuple(one_shown[0, 1]) == card.colors[1]
    assert one_shown[0, 0].tolist() == [106, 106, 106]
