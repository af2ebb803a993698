"""What is asked of the page without a browser: inputs that nobody uploaded, and functions that are not there."""

from pathlib import Path

import httpx
import pytest
from gradio.route_utils import delete_files_created_by_app
from gradio.utils import get_upload_folder
from PIL import Image


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
