"""Pages that several files look at."""

import pytest
from PIL import Image

from segtool.demo.app import MAX_FILE, build_demo
from segtool.runtime import load


@pytest.fixture(scope="module")
def page(tiny_onnx):
    """The page, served as the command serves it."""
    found = build_demo({"tiny": load(tiny_onnx)}, None, max_pixels=20_000)
    found.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, max_file_size=MAX_FILE)
    yield found
    found.close()


@pytest.fixture
def url(page):
    """Where it is."""
    return page.local_url


@pytest.fixture
def picture(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"
