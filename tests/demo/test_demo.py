"""The demo as a person uses it, in headless Chromium."""

import base64
import io
import json
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile

import gradio as gr
import httpx
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from segtool.card import ModelCard
from segtool.demo.app import MAX_FILE, build_demo
from segtool.demo.legend import legend_choices, legend_style
from segtool.demo.pictures import Result, before_and_after, confidence_map
from segtool.errors import SegtoolError
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


@pytest.fixture(scope="module")
def url(tiny_onnx):
    """The page, served as the command serves it."""
    page = build_demo({"tiny": load(tiny_onnx)}, None, max_pixels=20_000)
    _, address, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, max_file_size=MAX_FILE)
    yield address
    page.close()


@pytest.fixture
def picture(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.browser
def test_upload_shows_the_result(browser, url, tmp_path, picture):
    browser.get(url)
    _wait(browser, "#upload input[type=file]").send_keys(str(picture))
    _wait(browser, "#result img")
    timing = _wait_text(browser, "#timing", "ms")
    assert "97x131 pixels" in timing
    assert "the CRF changed" in timing
    assert len(browser.find_elements("css selector", "#result img")) == 2
    assert "%" in browser.find_element("css selector", "#only").text
    browser.save_screenshot(str(tmp_path / "demo.png"))


@pytest.mark.browser
def test_the_slider_moves_between_before_and_after(browser, url, picture):
    browser.get(url)
    _wait(browser, "#upload input[type=file]").send_keys(str(picture))
    _wait_text(browser, "#timing", "ms")
    handle = _wait(browser, "#result [data-testid=slider]")
    middle, cut = handle.rect["x"], _clip(browser)
    ActionChains(browser).drag_and_drop_by_offset(handle, 120, 0).perform()
    assert handle.rect["x"] == pytest.approx(middle + 120, abs=10)
    assert _clip(browser) != cut, "the upper picture is cut at another place"


def _clip(browser):
    return [image.get_attribute("style") for image in _all(browser, "#result img")]


@pytest.mark.browser
def test_downloads_hold_the_labels(browser, url, tiny_onnx, picture, photo):
    browser.get(url)
    _wait(browser, "#upload input[type=file]").send_keys(str(picture))
    _wait(browser, "#downloads a[download='mask.png']")
    links = {a.get_attribute("download"): a.get_attribute("href") for a in _all(browser, "#downloads a")}
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
    browser.get(url)
    _wait(browser, "#upload input[type=file]").send_keys(str(picture))
    before = _wait(browser, "#result img").get_attribute("src")
    timing = _wait_text(browser, "#timing", "ms")
    _wait(browser, "#only input[type=checkbox]").click()
    end = time.monotonic() + 40
    while _all(browser, "#result img")[0].get_attribute("src") == before:
        assert time.monotonic() < end, "the picture did not change"
        time.sleep(0.2)
    assert browser.find_element("css selector", "#timing").text == timing


@pytest.mark.browser
def test_it_fits_a_phone(browser, url, tmp_path, picture):
    browser.set_window_size(420, 900)
    browser.get(url)
    _wait(browser, "#upload input[type=file]").send_keys(str(picture))
    _wait(browser, "#result img")
    _wait_text(browser, "#timing", "ms")
    assert browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth") <= 0
    browser.save_screenshot(str(tmp_path / "phone.png"))


@pytest.mark.browser
def test_a_file_that_is_no_image_is_refused_in_words(browser, url, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    browser.get(url)
    _wait(browser, "#upload input[type=file]").send_keys(str(tmp_path / "bad.png"))
    assert "not an image" in _wait_text(browser, "body", "not an image")


def test_programs_can_use_it_too(url, tiny_onnx, picture, photo):
    from gradio_client import Client, handle_file

    client = Client(url, verbose=False)
    *_, numbers = client.predict(handle_file(str(picture)), 0.5, [], api_name="/segment")
    assert (numbers["width"], numbers["height"]) == (131, 97)
    labels = load(tiny_onnx)(photo).labels
    assert numbers["classes"][0]["pixels"] == np.bincount(labels.ravel()).max()


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(url, tmp_path):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    Image.new("RGB", (5000, 5000)).save(tmp_path / "large.png")
    with pytest.raises(AppError, match="an image of 5000x5000 has more than 0.0 million pixels"):
        Client(url, verbose=False).predict(handle_file(str(tmp_path / "large.png")), 0.5, [], api_name="/segment")


def test_bad_uploads_leave_no_traceback_in_the_log(url, tmp_path, capfd):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    Image.new("RGB", (5000, 5000)).save(tmp_path / "large.png")
    (tmp_path / "bad.png").write_bytes(b"hello")
    (tmp_path / "bad.zip").write_bytes(b"hello")
    client = Client(url, verbose=False)
    for name in ("large.png", "bad.png"):
        with pytest.raises(AppError):
            client.predict(handle_file(str(tmp_path / name)), 0.5, [], api_name="/segment")
    with pytest.raises(AppError, match="not a zip file"):
        client.predict(handle_file(str(tmp_path / "bad.zip")), "tiny", api_name="/segment_zip")
    assert "Traceback" not in "".join(capfd.readouterr())


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


def test_a_file_that_is_too_large_is_refused(url, tmp_path):
    sizes = {int(1.1 * 32 * 2**20): 413, 2**20: 200}
    for size, status in sizes.items():
        answer = httpx.post(f"{url}gradio_api/upload", files={"files": ("big.png", b"x" * size)}, timeout=60)
        assert answer.status_code == status


def test_whoever_comes_when_too_many_wait_is_refused_in_words(tiny_onnx, picture):
    from gradio_client import Client, handle_file

    class Slow:
        card = load(tiny_onnx).card

        def __call__(self, image):
            time.sleep(0.3)
            labels = np.zeros(image.shape[:2], np.uint8)
            return Prediction(labels, np.ones(labels.shape, np.float32), labels)

    page = build_demo({"slow": Slow()}, None, max_pixels=20_000)
    _, address, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        # All answers are the same picture, which gradio writes anew each time: one that is fetched then may be cut.
        client = Client(address, verbose=False, max_workers=50, download_files=False)
        jobs = [client.submit(handle_file(str(picture)), 0.5, [], api_name="/segment") for _ in range(50)]
        answers = [job.exception(timeout=60) for job in jobs]
    finally:
        page.close()
    refused = [str(error) for error in answers if error is not None]
    assert 5 <= len(refused) <= 50 - 32, refused
    assert all("queue is full" in text.lower() for text in refused)


def test_with_a_password_nothing_is_answered_before_it_is_given(tiny_onnx):
    page = build_demo({"tiny": load(tiny_onnx)}, None, max_pixels=20_000)
    _, address, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, auth=("me", "secret"))
    try:
        with httpx.Client(base_url=address, timeout=30) as visitor:
            assert visitor.get("config").status_code == 401
            assert visitor.post("gradio_api/upload", files={"files": ("a.png", b"x")}).status_code == 401
            assert visitor.post("login", data={"username": "me", "password": "guess"}).status_code == 400
            assert visitor.get("config").status_code == 401
            assert visitor.post("login", data={"username": "me", "password": "secret"}).status_code == 200
            assert visitor.get("config").status_code == 200
    finally:
        page.close()


def test_uploads_and_answers_are_deleted_after_a_quarter_of_an_hour(tiny_onnx):
    page = build_demo({"tiny": load(tiny_onnx)}, None, max_pixels=20_000)
    assert page.delete_cache == (900, 900)
    states = [block for block in page.blocks.values() if isinstance(block, gr.State)]
    assert [state.time_to_live for state in states] == [900]


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
    _, address, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield address, model, Flipped(model)
    page.close()


@pytest.mark.browser
def test_two_models_are_compared(browser, two_models, tmp_path, picture, photo):
    address, model, flipped = two_models
    browser.get(address)
    _wait(browser, "#upload input[type=file]").send_keys(str(picture))
    _wait_text(browser, "#timing", "the CRF changed")
    _wait(browser, "#other input").click()
    next(o for o in _all(browser, "ul[role=listbox] li") if o.text.strip().endswith("flipped")).click()
    apart = 100 * (model(photo).labels != flipped(photo).labels).mean()
    assert f"the two models disagree on {apart:.2f} % of the pixels" in _wait_text(browser, "#timing", "disagree")
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


def test_where_two_models_differ_is_red(tiny_onnx):
    card = load(tiny_onnx).card
    image, ones = np.full((1, 2, 3), 200, np.uint8), np.ones((1, 2), np.float32)
    first, second = (Prediction(np.array([labels], np.uint8), ones) for labels in ([0, 1], [0, 2]))
    left, right = before_and_after(Result(image, first, 0.1, second, ("a", "b")), card, 1.0, [])
    assert [tuple(p) for p in left[0]] == [card.colors[0], card.colors[1]]
    assert [tuple(p) for p in right[0]] == [card.colors[0], (255, 0, 0)]


def test_confidence_colours_go_from_dark_to_yellow():
    confidence = np.array([[0.0, 0.25, 1.0]], np.float32)
    result = Result(np.zeros((1, 3, 3), np.uint8), Prediction(np.zeros((1, 3), np.uint8), confidence), 0.1)
    assert confidence_map(result).tolist() == [[[68, 1, 84], [59, 82, 139], [253, 231, 37]]]


def test_only_the_chosen_classes_are_coloured(tiny_onnx):
    card = load(tiny_onnx).card
    image, labels = np.full((1, 2, 3), 200, np.uint8), np.array([[0, 1]], np.uint8)
    result = Result(image, Prediction(labels, np.ones((1, 2), np.float32), labels), 0.1)
    _, all_shown = before_and_after(result, card, 1.0, [])
    _, one_shown = before_and_after(result, card, 1.0, [1])
    assert tuple(all_shown[0, 0]) == card.colors[0]
    assert tuple(one_shown[0, 1]) == card.colors[1]
    assert one_shown[0, 0].tolist() == [106, 106, 106]


def _all(browser, selector):
    return browser.find_elements("css selector", selector)


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


@pytest.fixture(scope="module")
def rich(tiny_run, tiny_onnx):
    """The page as the command makes it of a run folder."""
    from segtool.cli.demo import _offered, _tuner

    offered, stages = _offered((tiny_run,))
    page = build_demo(offered, None, max_pixels=20_000, tuner=_tuner((tiny_run,)), stages=stages)
    _, address, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield address
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
    browser.get(rich)
    _wait(browser, "#upload input[type=file]").send_keys(str(picture))
    before = _wait_text(browser, "#timing", "the CRF changed")
    _wait(browser, "#crf button").click()
    for slider, value in (("bilateral", "0"), ("iterations", "3")):
        number = _wait(browser, f"#{slider} input[type=number]")
        number.send_keys(Keys.CONTROL, "a")
        number.send_keys(value, Keys.TAB)
    assert f"the CRF changed {moved:.1f} %" not in before
    _wait_text(browser, "#timing", f"the CRF changed {moved:.1f} %")
    assert "reading 0 ms" in browser.find_element("css selector", "#timing").text


@pytest.mark.browser
def test_where_the_time_goes_is_measured(browser, rich, picture):
    browser.get(rich)
    _wait(browser, "#upload input[type=file]").send_keys(str(picture))
    _wait_text(browser, "#timing", "ms")
    _wait(browser, "#stages button").click()
    _wait(browser, "#measure").click()
    text = _wait_text(browser, "#parts", "network")
    shares = [int(part) for part in re.findall(r"(\d+) %", text)]
    assert len(shares) == 4
    assert sum(shares) == pytest.approx(100, abs=2)
    assert "crf" in text


@pytest.mark.browser
def test_one_model_in_two_backends_agrees_with_itself(browser, rich, picture):
    browser.get(rich)
    _wait(browser, "#upload input[type=file]").send_keys(str(picture))
    _wait_text(browser, "#timing", "the CRF changed")
    _wait(browser, "#other input").click()
    names = [o.text.strip().lstrip("✓").strip() for o in _all(browser, "ul[role=listbox] li")]
    assert names[1:] == ["tiny", "tiny, portable definition", "tiny, PyTorch"]
    _all(browser, "ul[role=listbox] li")[3].click()
    assert "disagree on 0.0" in _wait_text(browser, "#timing", "disagree")


@pytest.mark.browser
def test_many_images_in_a_zip_file(browser, url, tmp_path, picture):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.write(picture, "a.png")
        archive.write(picture, "b.png")
    browser.get(url)
    _wait(browser, "button[role=tab]")
    _all(browser, "button[role=tab]")[1].click()
    _wait(browser, "#archive input[type=file]").send_keys(str(tmp_path / "images.zip"))
    browser.save_screenshot(str(tmp_path / "many.png"))
    _wait_text(browser, "#archive", "images")
    _wait(browser, "#segment-all").click()
    link = _wait(browser, "#answer a[href*='masks.zip']").get_attribute("href")
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
