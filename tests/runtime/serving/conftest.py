"""The endpoint without Ray."""

import pytest

from segtool.runtime.serving.application import build_application

from .local import LIMITS, Local, asker


@pytest.fixture(scope="module")
def local(tiny_onnx):
    return Local(tiny_onnx)


@pytest.fixture
def ask(local):
    """Sends one request to the application."""
    local.counted.clear()
    return asker(build_application(local, {"tiny": local.model.card}, LIMITS))
