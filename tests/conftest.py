"""Fixtures that several parts' tests share."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from filelock import FileLock

from . import tensorrt_api

# Before anything imports torch: its threads that wait then sleep, as under the command line. Threads that spin make a
# test that trains ten times slower where another process takes one of two cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with CamVid and the exact CRF references, which only developers and CI have."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data (CamVid and CRF references), which is not distributed")
    return SHARED


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A picture like a photo, uint8 [97,131,3]: smooth shading, edges and noise."""
    random = np.random.default_rng(7)
    y, x = np.mgrid[:97, :131]
    image = np.stack([x * 1.5, y * 2.0, 255 - x], axis=-1) + random.normal(0, 6, (97, 131, 3))
    image[30:60, 40:90] = (200, 40, 60)
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def tensorrt_bindings(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """TensorRT's real Python classes, with nothing behind them."""
    return tensorrt_api.bindings(tmp_path_factory.mktemp("tensorrt"))


TINY = [
    "model.encoder=tu-mobilenetv3_small_050",
    "data.crop=[64, 64]",
    "data.validation_images=4",
    "unary.epochs=2",
    "unary.validate_every=1",
    "crf.epochs=1",
    "crf.crop=[64, 64]",
    "crf.bilateral_alpha=[15.0]",
    "crf.bilateral_beta=[13.0]",
    "crf.search_images=2",
    "joint.epochs=1",
    "report.write=false",
]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str, Callable[[Path], object]], Path]:
    """Of (name, make): the folder of that name, filled by `make(folder)` in the test process that asks first."""
    base = tmp_path_factory.getbasetemp()
    shared_by_all = base if worker_id == "master" else base.parent

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared_by_all / name, shared_by_all / f"{name}.done"
        with FileLock(f"{folder}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def tiny_run(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A run of all three stages on small synthetic images, exported with probabilities as its model.onnx."""
    return once("tiny", _train_and_export)


def _train_and_export(out: Path) -> None:
    from segtool.export.onnx_export import export_onnx
    from segtool.train.config.presets import load_config
    from segtool.train.stages.piecewise import PiecewiseTrainer

    config = load_config("quickstart", TINY)
    PiecewiseTrainer(config, "synthetic:64", out, ["unary", "crf", "joint"], report=lambda line: None).run()
    export_onnx(out, out / "model.onnx", probabilities=True)


@pytest.fixture(scope="session")
def tiny_onnx(tiny_run: Path) -> Path:
    """The tiny run's model.onnx."""
    return tiny_run / "model.onnx"


@pytest.fixture(scope="session")
def with_logits(once: Callable[[str, Callable[[Path], object]], Path], tiny_run: Path) -> Path:
    """The tiny run, exported with logits."""
    from segtool.export.onnx_export import export_onnx

    return once("tiny_logits", lambda out: export_onnx(tiny_run, out / "model.onnx", logits=True)) / "model.onnx"


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-dev-shm-usage",
        "disable-background-networking", "disable-component-update", "disable-sync",
        "window-size=1280,1000", f"user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()
