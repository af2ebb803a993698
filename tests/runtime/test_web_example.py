"""The example for browsers: in Chromium's WebAssembly, the same file gives the runtime's labels."""

import base64
import functools
import http.server
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from segtool.runtime import load

pytestmark = pytest.mark.browser
EXAMPLE = Path(__file__).parents[2] / "examples" / "web"
PACKAGES = EXAMPLE / "node_modules"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *arguments):
        pass


@pytest.fixture
def site(tmp_path, tiny_onnx):
    """The example's folder with a model in it, and where it is served."""
    if not (PACKAGES / "onnxruntime-web").is_dir():
        pytest.skip("needs onnxruntime-web: npm install --prefix examples/web")
    folder = tmp_path / "web"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", "*.onnx"))
    (folder / "node_modules").symlink_to(PACKAGES)
    shutil.copy(tiny_onnx, folder / "model.onnx")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def _status(browser, wanted):
    def there(browser):
        text = browser.find_element(By.ID, "status").text
        return text if wanted in text else None

    return WebDriverWait(browser, 60).until(there)


def _found(browser, name):
    script = "return btoa(Array.from(segtool.found()[arguments[0]], (x) => String.fromCharCode(x)).join(''))"
    return np.frombuffer(base64.b64decode(browser.execute_script(script, name)), np.uint8)


def test_labels_are_the_runtimes(browser, site, tiny_onnx, photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    browser.get(site[1])
    browser.find_element(By.ID, "file").send_keys(str(tmp_path / "photo.png"))
    _status(browser, "131 x 97, ")
    expected = load(tiny_onnx, native=False)(photo)
    for name in ("labels", "unary_labels"):
        np.testing.assert_array_equal(_found(browser, name).reshape(97, 131), getattr(expected, name))
    legend = [entry.text for entry in browser.find_elements(By.CSS_SELECTOR, "#legend span")]
    names = load(tiny_onnx).card.names
    assert legend == [names[i] for i in np.unique(expected.labels)]
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"
                and "favicon" not in entry["message"]]  # fmt: skip


def test_what_is_wrong_is_said(browser, site, tmp_path):
    (tmp_path / "photo.png").write_text("hello")
    browser.get(site[1])
    browser.find_element(By.ID, "file").send_keys(str(tmp_path / "photo.png"))
    _status(browser, "could not be decoded")
    (site[0] / "model.onnx").write_bytes(b"hello")
    browser.refresh()
    _status(browser, "not a file of segtool export")
    (site[0] / "model.onnx").unlink()
    browser.refresh()
    _status(browser, "404")
    browser.find_element(By.ID, "file").send_keys(str(tmp_path / "photo.png"))
    _status(browser, "404")
