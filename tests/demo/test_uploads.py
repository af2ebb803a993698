"""What is asked of the page without a browser: inputs that nobody uploaded, and functions that are not there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from gradio.route_utils import delete_files_created_by_app
from gradio.utils import get_upload_folder
from PIL import Image

from segtool.demo.folder import own_folder
from tests.runtime.serving.server import free_port


def ask(page, path, place=0):
    """What a call of `segment` says with `path` in the place of one of its inputs, the image unless told."""
    data = [None, 0.55, [], "tiny", ""]
    data[place] = {"path": path, "meta": {"_type": "gradio.FileData"}}
    call = httpx.post(f"{page.local_url}gradio_api/call/segment", json={"data": data}).json()
    with httpx.stream("GET", f"{page.local_url}gradio_api/call/segment/{call['event_id']}", timeout=60) as answer:
        return "".join(answer.iter_text())


@pytest.mark.parametrize(
    "given", ["folder", "http://127.0.0.1:9/a.png", "https://example.org/a.png", "/etc/passwd", ""]
)
def test_what_was_not_uploaded_is_refused(page, given):
    for place in range(5):  # gradio would fetch it for a slider as well
        assert "event: error" in ask(page, get_upload_folder() if given == "folder" else given, place)
    assert not any(page.temp_file_sets)


def test_uploads_are_still_deleted_afterwards(page, tmp_path, photo):
    ask(page, get_upload_folder())
    Image.fromarray(photo).save(tmp_path / "photo.png")
    with (tmp_path / "photo.png").open("rb") as file:
        (uploaded,) = httpx.post(f"{page.local_url}gradio_api/upload", files={"files": file}).json()
    assert "event: complete" in ask(page, uploaded)
    noted = [name for names in page.temp_file_sets for name in names]
    assert uploaded in noted
    delete_files_created_by_app(page, None)  # as gradio does every quarter of an hour, and at the end
    assert not Path(uploaded).exists()


def test_pages_do_not_share_their_files(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with own_folder() as one, own_folder() as two:
        assert one != two
        assert get_upload_folder() == str(two.resolve())
    assert get_upload_folder() == str(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_command_leaves_no_files_behind(way, tiny_onnx, tmp_path):
    folder = tmp_path / "uploads"
    environment = os.environ | {"GRADIO_TEMP_DIR": str(folder)}
    port = free_port()
    command = [sys.executable, "-m", "segtool", "demo", str(tiny_onnx), "--port", str(port)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert "serving on" in process.stdout.readline()
        answer = httpx.post(f"http://127.0.0.1:{port}/gradio_api/upload", files={"files": ("a.png", b"x")})
        (uploaded,) = answer.json()
        assert Path(uploaded).is_relative_to(folder)
        assert Path(uploaded).exists()
        process.send_signal(way)
        process.communicate(timeout=60)
    assert process.returncode == (0 if way == signal.SIGINT else 128 + way)
    assert not list(folder.iterdir())


def test_folders_of_pages_that_were_killed_go(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    program = "from segtool.demo.folder import own_folder\nwith own_folder(): print('in', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        (abandoned,) = tmp_path.iterdir()
        with own_folder():
            assert abandoned.exists()
        process.kill()
    with own_folder() as own:
        assert [*tmp_path.iterdir()] == [own]
