"""The demo as a person uses it, in headless Chromium."""

import time

import numpy as np
import pytest
from PIL import Image

from segtool.card import ClassInfo, ModelCard
from segtool.demo.app import build_demo
from segtool.demo.legend import legend_html
from segtool.runtime import load


def test_legend_names_classes_with_their_share(tiny_onnx):
    card: ModelCard = load(tiny_onnx).card
    html = legend_html(card, np.array([[0, 0], [0, 1]], np.uint8))
    assert "ground 75.0 %" in html
    assert html.index("ground") < html.index("disk") < html.index("wedge")
    odd = card.model_copy(update={"classes": [ClassInfo(id=0, name="<b>", color=(1, 2, 3))]})
    assert "&lt;b&gt;" in legend_html(odd, None)


@pytest.mark.browser
def test_upload_shows_the_result(browser, tiny_onnx, tmp_path, photo):
    page = build_demo(load(tiny_onnx))
    _, url, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        Image.fromarray(photo).save(tmp_path / "photo.png")
        browser.get(url)
        _wait(browser, "#upload input[type=file]").send_keys(str(tmp_path / "photo.png"))
        _wait(browser, "#result img")
        timing = _wait_text(browser, "#timing", "ms")
        assert "131x97 pixels" in timing
        assert "the CRF changed" in timing
        assert len(browser.find_elements("css selector", "#result img")) == 2
        assert "%" in browser.find_element("css selector", "#legend").text
        browser.save_screenshot(str(tmp_path / "demo.png"))
    finally:
        page.close()


@pytest.mark.browser
def test_a_file_that_is_no_image_is_refused_in_words(browser, tiny_onnx, tmp_path):
    page = build_demo(load(tiny_onnx))
    _, url, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
        browser.get(url)
        _wait(browser, "#upload input[type=file]").send_keys(str(tmp_path / "bad.png"))
        assert "not an image" in _wait_text(browser, "body", "not an image")
    finally:
        page.close()


def _wait(browser, selector, seconds=40):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := browser.find_elements("css selector", selector):
            return found[0]
        time.sleep(0.2)
    raise AssertionError(f"{selector} did not appear")


def _wait_text(browser, selector, text, seconds=40):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = browser.find_elements("css selector", selector)
        if found and text in found[0].text:
            return found[0].text
        time.sleep(0.2)
    raise AssertionError(f"{text!r} did not appear in {selector}")
