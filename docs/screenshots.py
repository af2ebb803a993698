"""Takes the pictures of the guides in headless Chromium, so that they show what there is.

    python docs/screenshots.py RUN IMAGE

RUN is an exported run folder, such as runs/quickstart; IMAGE is what the pages are shown with.
"""

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

DOCS = Path(__file__).parent
DEMO, SERVE = 7981, 8981


def main() -> None:
    run, image = map(Path, sys.argv[1:3])
    with tempfile.TemporaryDirectory() as profile, browser(profile) as page:
        with server("demo", run, DEMO):
            take_demo(page, image.resolve())
        with server("serve", run, SERVE):
            page.set_window_size(1100, 900)
            page.get(f"http://127.0.0.1:{SERVE}/docs")
            wait_for(page, ".opblock")
            find(page, ".opblock-post .opblock-summary-control").click()
            wait_for(page, ".opblock-post .responses-table")
            save(page, "serving")


def take_demo(page: Any, image: Path) -> None:
    page.set_window_size(1280, 1150)
    segment(page, image)
    save(page, "demo")
    find(page, "#crf button").click()
    find(page, "#stages button").click()
    find(page, "#measure").click()
    wait_for(page, "#parts table")
    page.execute_script("window.scrollTo(0, 400)")
    save(page, "demo-crf")
    page.execute_script("window.scrollTo(0, 0)")
    find(page, "#other input").click()
    wait_for(page, "ul[role=listbox] li")
    page.find_elements(By.CSS_SELECTOR, "ul[role=listbox] li")[-1].click()
    wait_until(lambda: "disagree" in find(page, "#timing").text)
    save(page, "demo-compare")
    page.set_window_size(420, 1200)
    segment(page, image)
    save(page, "demo-phone")


def segment(page: Any, image: Path) -> None:
    page.get(f"http://127.0.0.1:{DEMO}")
    wait_for(page, "#upload input[type=file]")
    find(page, "#upload input[type=file]").send_keys(str(image))
    wait_until(lambda: "the CRF changed" in find(page, "#timing").text)
    time.sleep(1)  # the pictures themselves


def save(page: Any, name: str) -> None:
    """As a palette PNG: a third of the size."""
    time.sleep(1)
    path = DOCS / f"{name}.png"
    page.save_screenshot(str(path))
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path)


def find(page: Any, selector: str) -> Any:
    return page.find_element(By.CSS_SELECTOR, selector)


def wait_for(page: Any, selector: str) -> None:
    wait_until(lambda: bool(page.find_elements(By.CSS_SELECTOR, selector)))


def wait_until(what: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise SystemExit("the page did not get there")
        time.sleep(0.2)


@contextlib.contextmanager
def server(command: str, run: Path, port: int) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "segtool", command, str(run), "--port", str(port)])
    try:
        wait_until(lambda: answers(port))
        yield
    finally:
        process.terminate()
        process.wait(60)


def answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


@contextlib.contextmanager
def browser(profile: str) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    page = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield page
    finally:
        page.quit()


if __name__ == "__main__":
    main()
