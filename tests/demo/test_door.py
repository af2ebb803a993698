"""Requests that are not the page's own."""

import httpx
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from segtool.demo.app import build_demo, launch
from segtool.demo.door import Door
from segtool.runtime import load

from .browsing import every, wait_for, wait_for_text


@pytest.mark.parametrize(
    "path",
    ["gradio_api/process_recording", "gradio_api/proxy=http://127.0.0.1:9/", "gradio_api/component_server",
     "gradio_api/run/segment", "gradio_api/vibe-edit", "monitoring/summary", "gradio_api/stream/0/0/0/playlist.m3u8",
     "gradio_api/file=http://127.0.0.1:9/a.png", "gradio_api/file=https://example.org/a.png",
     "gradio_api/file=file:/etc"],
)  # fmt: skip
def test_what_the_page_does_not_need_is_not_there(page, path):
    for method in ("GET", "POST"):
        answer = httpx.request(method, page.local_url + path)
        assert (answer.status_code, answer.json()) == (404, {"detail": "not found"})


@pytest.mark.parametrize(
    ("path", "body"),
    [("gradio_api/queue/join", b'{"fn_index": 99, "data": []}'), ("gradio_api/queue/join", b"\xff"),
     ("gradio_api/call/nothing", b'{"data": []}'), ("gradio_api/reset", b"{")],
)  # fmt: skip
def test_what_cannot_be_understood_is_a_bad_request_and_one_line(page, path, body, capfd, caplog):
    answer = httpx.post(page.local_url + path, content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert "Traceback" not in "".join(capfd.readouterr()) + caplog.text
    assert len([record for record in caplog.records if record.name == "segtool.demo.door"]) <= 1


def test_a_fault_of_the_machine_is_not_the_visitors(caplog):
    def full(request):
        raise OSError(28, "No space left on device")

    app = Starlette(routes=[Route("/config", full)], middleware=[Middleware(Door)])
    assert TestClient(app).get("/config").status_code == 503
    assert "No space left on device" in caplog.text


def test_the_page_works_behind_a_path_of_a_proxy(tiny_onnx, monkeypatch):
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/segmentation")
    page = build_demo({"tiny": load(tiny_onnx)}, None, max_pixels=20_000)
    launch(page, server_name="127.0.0.1")
    try:
        for path in ("config", "gradio_api/info", "segmentation/config", "segmentation/gradio_api/info"):
            assert httpx.get(page.local_url + path).status_code == 200, path
        assert httpx.get(page.local_url + "segmentation/gradio_api/proxy=x").status_code == 404
    finally:
        page.close()


@pytest.mark.browser
def test_examples_can_be_clicked(browser, tiny_onnx, tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    page = build_demo({"tiny": load(tiny_onnx)}, tmp_path, max_pixels=20_000)
    launch(page, server_name="127.0.0.1")
    try:
        browser.get(page.local_url)
        wait_for(browser, ".gallery-item").click()
        wait_for(browser, "#upload img")
        next(one for one in every(browser, "button") if one.text == "Segment").click()
        wait_for_text(browser, "#timing", "the CRF changed")
    finally:
        page.close()


def test_an_answer_that_breaks_off_is_not_answered_twice(caplog):
    async def broken():
        yield b"begun"
        raise RuntimeError("broken")

    app = Starlette(
        routes=[Route("/config", lambda request: StreamingResponse(broken()))], middleware=[Middleware(Door)]
    )
    assert TestClient(app).get("/config").content == b"begun"
    assert "GET '/config': RuntimeError" in caplog.text
