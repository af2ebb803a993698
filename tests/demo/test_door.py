"""Requests that are not the page's own."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from segtool.demo.door import Door


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


def test_an_answer_that_breaks_off_is_not_answered_twice(caplog):
    async def broken():
        yield b"begun"
        raise RuntimeError("broken")

    app = Starlette(
        routes=[Route("/config", lambda request: StreamingResponse(broken()))], middleware=[Middleware(Door)]
    )
    assert TestClient(app).get("/config").content == b"begun"
    assert "GET '/config': RuntimeError" in caplog.text
