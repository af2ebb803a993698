"""What the page refuses, of whom it asks a password, and what does not stay."""

import time

import gradio as gr
import httpx
import numpy as np
import pytest
from PIL import Image

from segtool.demo.app import build_demo, launch
from segtool.prediction import Prediction
from segtool.runtime import load


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
    launch(page, server_name="127.0.0.1")
    try:
        # All answers are the same picture, which gradio writes anew each time: one that is fetched then may be cut.
        client = Client(page.local_url, verbose=False, max_workers=50, download_files=False)
        jobs = [client.submit(handle_file(str(picture)), 0.5, [], api_name="/segment") for _ in range(50)]
        answers = [job.exception(timeout=60) for job in jobs]
    finally:
        page.close()
    refused = [str(error) for error in answers if error is not None]
    assert 5 <= len(refused) <= 50 - 32, refused
    assert all("queue is full" in text.lower() for text in refused)


def test_with_a_password_nothing_is_answered_before_it_is_given(tiny_onnx):
    page = build_demo({"tiny": load(tiny_onnx)}, None, max_pixels=20_000)
    launch(page, server_name="127.0.0.1", auth=("me", "secret"))
    try:
        with httpx.Client(base_url=page.local_url, timeout=30) as visitor:
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
