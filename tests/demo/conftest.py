"""Pages that several files look at."""

import pytest
from PIL import Image

from segtool.demo.app import build_demo, launch
from segtool.demo.folder import own_folder
from segtool.runtime import load


@pytest.fixture(autouse=True, scope="session")
def own_uploads():
    """Not those of other test processes."""
    with own_folder():
        yield


@pytest.fixture(scope="module")
def page(tiny_onnx):
    """The page, served as the command serves it."""
    found = build_demo({"tiny": load(tiny_onnx)}, None, max_pixels=20_000)
    launch(found, server_name="127.0.0.1")
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
