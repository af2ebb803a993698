"""The demo as a person uses it, in headless Chromium."""

import base64
import io
import json
import signal
import socket
import subprocess
import sys
import time
import zipfile

import httpx
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains

from segtool.runtime import load

from .browsing import every, upload, wait_for, wait_for_text


@pytest.mark.browser
def test_upload_shows_the_result(browser, url, tmp_path, picture):
    upload(browser, url, picture)
    wait_for(browser, "#result img")
    timing = wait_for_text(browser, "#timing", "ms")
    assert "97x131 pixels" in timing
    assert "the CRF changed" in timing
    assert len(browser.find_elements("css selector", "#result img")) == 2
    assert "%" in browser.find_element("css selector", "#only").text
    browser.save_screenshot(str(tmp_path / "demo.png"))


@pytest.mark.browser
def test_the_slider_moves_between_before_and_after(browser, url, picture):
    upload(browser, url, picture)
    wait_for_text(browser, "#timing", "ms")
    handle = wait_for(browser, "#result [data-testid=slider]")
    middle, cut = handle.rect["x"], _clip(browser)
    ActionChains(browser).drag_and_drop_by_offset(handle, 120, 0).perform()
    assert handle.rect["x"] == pytest.approx(middle + 120, abs=10)
    assert _clip(browser) != cut, "the upper picture is cut at another place"


def _clip(browser):
    return [image.get_attribute("style") for image in every(browser, "#result img")]


@pytest.mark.browser
def test_downloads_hold_the_labels(browser, url, tiny_onnx, picture, photo):
    upload(browser, url, picture)
    wait_for(browser, "#downloads a[download='mask.png']")
    links = {a.get_attribute("download"): a.get_attribute("href") for a in every(browser, "#downloads a")}
    files = {name: base64.b64decode(href.partition("base64,")[2]) for name, href in links.items()}
    labels = load(tiny_onnx)(photo).labels
    mask = Image.open(io.BytesIO(files["mask.png"]))
    np.testing.assert_array_equal(np.array(mask), labels)
    assert mask.mode == "P"
    assert Image.open(io.BytesIO(files["overlay.jpg"])).size == (131, 97)
    found = json.loads(files["areas.json"])
    assert {c["id"]: c["pixels"] for c in found["classes"]} == dict(
        zip(*(values.tolist() for values in np.unique(labels, return_counts=True)), strict=True)
    )


@pytest.mark.browser
def test_a_class_can_be_shown_alone_and_the_model_is_not_asked_again(browser, url, picture):
    upload(browser, url, picture)
    before = wait_for(browser, "#result img").get_attribute("src")
    timing = wait_for_text(browser, "#timing", "ms")
    wait_for(browser, "#only input[type=checkbox]").click()
    end = time.monotonic() + 40
    while every(browser, "#result img")[0].get_attribute("src") == before:
        assert time.monotonic() < end, "the picture did not change"
        time.sleep(0.2)
    assert browser.find_element("css selector", "#timing").text == timing


@pytest.mark.browser
def test_it_fits_a_phone(browser, url, tmp_path, picture):
    browser.set_window_size(420, 900)
    upload(browser, url, picture)
    wait_for(browser, "#result img")
    wait_for_text(browser, "#timing", "ms")
    assert browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth") <= 0
    browser.save_screenshot(str(tmp_path / "phone.png"))


@pytest.mark.browser
def test_a_file_that_is_no_image_is_refused_in_words(browser, url, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    upload(browser, url, tmp_path / "bad.png")
    assert "not an image" in wait_for_text(browser, "body", "not an image")


def test_programs_can_use_it_too(url, tiny_onnx, picture, photo):
    from gradio_client import Client, handle_file

    client = Client(url, verbose=False)
    *_, numbers = client.predict(handle_file(str(picture)), 0.5, [], api_name="/segment")
    assert (numbers["width"], numbers["height"]) == (131, 97)
    labels = load(tiny_onnx)(photo).labels
    assert numbers["classes"][0]["pixels"] == np.bincount(labels.ravel()).max()


@pytest.mark.slow
def test_the_command_serves_when_it_says_so(tiny_onnx):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "segtool", "demo", str(tiny_onnx), "--port", str(port)]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"segtool: cannot listen on 127.0.0.1:{port} (choose another --port)\n"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == f"serving on http://127.0.0.1:{port}  (Ctrl-C ends it)\n"
        assert httpx.get(f"http://127.0.0.1:{port}/config", timeout=30).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.mark.browser
def test_many_images_in_a_zip_file(browser, url, tmp_path, picture):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.write(picture, "a.png")
        archive.write(picture, "b.png")
    browser.get(url)
    wait_for(browser, "button[role=tab]")
    every(browser, "button[role=tab]")[1].click()
    wait_for(browser, "#archive input[type=file]").send_keys(str(tmp_path / "images.zip"))
    browser.save_screenshot(str(tmp_path / "many.png"))
    wait_for_text(browser, "#archive", "images")
    wait_for(browser, "#segment-all").click()
    link = wait_for(browser, "#answer a[href*='masks.zip']").get_attribute("href")
    with zipfile.ZipFile(io.BytesIO(httpx.get(link, timeout=30).content)) as answer:
        assert {"a.png", "b.png", "index.csv"} <= set(answer.namelist())


def test_a_program_can_send_a_zip_file(url, tmp_path, picture):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.write(picture, "a.png")
    client = Client(url, verbose=False, download_files=str(tmp_path / "down"))
    answer = client.predict(handle_file(str(tmp_path / "images.zip")), "tiny", api_name="/segment_zip")
    assert "a.png" in zipfile.ZipFile(answer).namelist()
    (tmp_path / "no.zip").write_bytes(b"hello")
    with pytest.raises(AppError, match="not a zip file that can be read"):
        client.predict(handle_file(str(tmp_path / "no.zip")), "tiny", api_name="/segment_zip")
