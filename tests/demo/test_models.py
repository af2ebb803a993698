"""Several models or backends on one page, the CRF's sliders, and where the time goes."""

import re

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from segtool.demo.app import build_demo, launch
from segtool.errors import SegtoolError
from segtool.prediction import Prediction
from segtool.runtime import load

from .browsing import every, upload, wait_for, wait_for_text


@pytest.fixture(scope="module")
def two_models(tiny_onnx):
    """A model, and the same one upside down, which disagrees with it nearly everywhere."""

    class Flipped:
        def __init__(self, model):
            self.model, self.card = model, model.card

        def __call__(self, image):
            found = self.model(np.ascontiguousarray(image[::-1]))
            return Prediction(*(None if part is None else part[..., ::-1, :] for part in found))

    model = load(tiny_onnx)
    page = build_demo({"upright": model, "flipped": Flipped(model)}, None, max_pixels=20_000)
    launch(page, server_name="127.0.0.1")
    yield page.local_url, model, Flipped(model)
    page.close()


@pytest.mark.browser
def test_two_models_are_compared(browser, two_models, tmp_path, picture, photo):
    address, model, flipped = two_models
    upload(browser, address, picture)
    wait_for_text(browser, "#timing", "the CRF changed")
    wait_for(browser, "#other input").click()
    next(o for o in every(browser, "ul[role=listbox] li") if o.text.strip().endswith("flipped")).click()
    apart = 100 * (model(photo).labels != flipped(photo).labels).mean()
    assert f"the two models disagree on {apart:.2f} % of the pixels" in wait_for_text(browser, "#timing", "disagree")
    assert "upright | flipped, differences red" in browser.find_element("css selector", "#result").text
    browser.save_screenshot(str(tmp_path / "compare.png"))


def test_a_program_can_choose_the_model(two_models, picture, photo):
    from gradio_client import Client, handle_file

    address, _, flipped = two_models
    *_, numbers = Client(address, verbose=False).predict(
        handle_file(str(picture)), 0.5, [], "flipped", "", api_name="/segment"
    )
    assert numbers["classes"][0]["pixels"] == np.bincount(flipped(photo).labels.ravel()).max()


def test_models_of_different_classes_are_not_compared(tiny_onnx):
    class Other:
        card = load(tiny_onnx).card.model_copy(update={"classes": []})

    with pytest.raises(SegtoolError, match="different classes cannot be compared: a, b"):
        build_demo({"a": load(tiny_onnx), "b": Other()}, None, max_pixels=20_000)


@pytest.fixture(scope="module")
def rich(tiny_run, tiny_onnx):
    """The page as the command makes it of a run folder."""
    from segtool.cli.demo import _offered, _tuner

    offered, stages = _offered((tiny_run,))
    page = build_demo(offered, None, max_pixels=20_000, tuner=_tuner((tiny_run,)), stages=stages)
    launch(page, server_name="127.0.0.1")
    yield page.local_url
    page.close()


@pytest.mark.browser
def test_the_crfs_sliders_change_the_result(browser, rich, picture, tiny_run, photo):
    from segtool.demo.crf import changed
    from segtool.train.checkpoint import load_segmenter
    from segtool.train.tuning import CrfTuner

    segmenter, card = load_segmenter(tiny_run)
    crf = card.crf
    other = changed(crf, 1.0, 0.0, crf.spatial_gamma, crf.bilateral_alpha, crf.bilateral_beta, 3)
    expected = CrfTuner(segmenter)(photo, other)
    moved = 100 * (expected.labels != expected.unary_labels).mean()
    upload(browser, rich, picture)
    before = wait_for_text(browser, "#timing", "the CRF changed")
    wait_for(browser, "#crf button").click()
    for slider, value in (("bilateral", "0"), ("iterations", "3")):
        number = wait_for(browser, f"#{slider} input[type=number]")
        number.send_keys(Keys.CONTROL, "a")
        number.send_keys(value, Keys.TAB)
    assert f"the CRF changed {moved:.1f} %" not in before
    wait_for_text(browser, "#timing", f"the CRF changed {moved:.1f} %")
    assert "reading 0 ms" in browser.find_element("css selector", "#timing").text


@pytest.mark.browser
def test_where_the_time_goes_is_measured(browser, rich, picture):
    upload(browser, rich, picture)
    wait_for_text(browser, "#timing", "ms")
    wait_for(browser, "#stages button").click()
    wait_for(browser, "#measure").click()
    text = wait_for_text(browser, "#parts", "network")
    shares = [int(part) for part in re.findall(r"(\d+) %", text)]
    assert len(shares) == 4
    assert sum(shares) == pytest.approx(100, abs=2)
    assert "crf" in text


@pytest.mark.browser
def test_one_model_in_two_backends_agrees_with_itself(browser, rich, picture):
    upload(browser, rich, picture)
    wait_for_text(browser, "#timing", "the CRF changed")
    wait_for(browser, "#other input").click()
    names = [o.text.strip().lstrip("✓").strip() for o in every(browser, "ul[role=listbox] li")]
    assert names[1:] == ["tiny", "tiny, portable definition", "tiny, PyTorch"]
    every(browser, "ul[role=listbox] li")[3].click()
    assert "disagree on 0.0" in wait_for_text(browser, "#timing", "disagree")
