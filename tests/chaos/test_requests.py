"""Requests made from the OpenAPI descriptions of `segtool serve` and of the demo, right ones and wrong ones."""

import collections
import os

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from segtool.demo.app import build_demo, launch
from segtool.demo.door import OPEN
from segtool.demo.folder import own_folder
from segtool.runtime import load
from segtool.runtime.serving.application import build_application
from tests.runtime.serving.local import LIMITS, Local

pytestmark = pytest.mark.slow

REQUESTS = int(500 * float(os.environ.get("SEGTOOL_CHAOS", "1")))


def statuses(schema, call, at_most=REQUESTS):
    """How often which status answered requests that are made from a schema."""
    seen = collections.Counter()
    worst = []

    @given(case=schema.as_strategy(generation_mode=GenerationMode.NEGATIVE) | schema.as_strategy())
    @settings(
        max_examples=at_most,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def campaign(case):
        status = call(case)
        seen[status] += 1
        if status == "broken off" or status >= 500:
            worst.append((case.method, case.formatted_path, case.query, str(case.body)[:200]))

    campaign()
    print(dict(seen))
    assert not worst, worst[:5]
    return seen


def test_serve_answers_whatever_is_asked(tiny_onnx):
    local = Local(tiny_onnx)
    app = build_application(local, {"tiny": local.model.card}, LIMITS)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    seen = statuses(schema, lambda case: case.call().status_code)
    assert len(seen) > 3


def test_the_demo_answers_whatever_is_asked(tiny_onnx, capfd):
    with own_folder():
        page = build_demo({"tiny": load(tiny_onnx)}, None, max_pixels=20_000)
        launch(page, server_name="127.0.0.1")
        try:
            described = page.app.openapi()
            described["paths"] = {path: what for path, what in described["paths"].items() if _is_asked(path)}
            seen = statuses(schemathesis.openapi.from_dict(described), lambda case: _status(case, page.local_url))
        finally:
            page.close()
    assert len(seen) > 3
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said, said[said.index("Traceback") :][:3000]


def _is_asked(path):
    # The streams of events last until the visitor is gone.
    return OPEN.fullmatch(path) is not None and not any(
        name in path for name in ("heartbeat", "queue/data", "{event_id}")
    )


def _status(case, url):
    try:
        return case.call(base_url=url, timeout=20, allow_redirects=False).status_code
    except (requests.ConnectionError, requests.Timeout):
        return "broken off"
