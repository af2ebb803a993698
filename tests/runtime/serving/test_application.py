"""The endpoint's rules, without Ray: every refusal, what is read as an image, and that nothing sent makes it fail."""

import asyncio
import base64
import contextlib
import io
import json
import random
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from segtool.errors import SegtoolError
from segtool.images import decode_image
from segtool.runtime import load
from segtool.runtime.serving.answers import Answer, encode
from segtool.runtime.serving.application import _REFUSALS, build_application
from segtool.runtime.serving.bodies import refusal_of
from segtool.runtime.serving.limits import Limits, Refusal

LIMITS = Limits(file_bytes=60_000, pixels=20_000, upload_seconds=0.4, answer_seconds=1.0)
SEGMENT = "/models/tiny/segment"


class Local:
    """The model in this process, as a replica runs it."""

    def __init__(self, path):
        self.model = load(path)
        self.counted = []
        self.gone = []
        self.full = False

    @contextlib.asynccontextmanager
    async def accepted(self, model):
        if self.full:
            raise Refusal(503, "too many requests are waiting", "try again later")
        yield

    async def segment(self, model, data, form):
        try:
            image = decode_image(data, LIMITS.pixels)
        except SegtoolError as error:
            raise refusal_of(error) from error
        return Answer(*encode(self.model(image), self.model.card, form), {"segment": 0.1})

    async def missing(self):
        return self.gone

    def count(self, model, status, seconds):
        self.counted.append((model, status))


@pytest.fixture(scope="module")
def local(tiny_onnx):
    return Local(tiny_onnx)


@pytest.fixture
def ask(local):
    """Sends one request to the application."""
    local.counted.clear()
    return asker(build_application(local, {"tiny": local.model.card}, LIMITS))


def asker(app):
    async def send(method, path, **options):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    return lambda *args, **options: asyncio.run(send(*args, **options))


def file_of(image, form="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_the_mask_is_the_models_whatever_the_format(ask, local, photo, form):
    answer = ask("POST", SEGMENT, content=file_of(photo, form))
    sent = np.array(Image.open(io.BytesIO(file_of(photo, form))))
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(answer.content))), local.model(sent).labels)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["server-timing"] == "segment;dur=100.0"
    assert local.counted == [("tiny", 200)]


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_base64_is_read_too(ask, local, photo, prefix):
    body = {"image": prefix + base64.b64encode(file_of(photo)).decode()}
    answer = ask("POST", SEGMENT + "?format=npz", json=body)
    arrays = np.load(io.BytesIO(answer.content), allow_pickle=False)
    expected = local.model(photo)
    np.testing.assert_array_equal(arrays["labels"], expected.labels)
    np.testing.assert_array_equal(arrays["unary_labels"], expected.unary_labels)
    np.testing.assert_allclose(arrays["confidence"], expected.confidence, atol=1e-3)


def test_an_image_is_known_by_what_it_holds(ask, photo):
    headers = {"Content-Type": "text/plain", "Content-Disposition": "attachment; filename=notes.txt"}
    assert ask("POST", SEGMENT, content=file_of(photo), headers=headers).status_code == 200


def test_nothing_of_the_uploads_metadata_is_in_the_answer(ask, photo):
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    sent = file_of(photo, "PNG", exif=exif)
    assert b"secret place" in sent
    for form in ("png", "rle", "npz"):
        assert b"secret" not in ask("POST", f"{SEGMENT}?format={form}", content=sent).content


def bomb():
    """A PNG of 40000x40000 pixels in a few bytes."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10_000)))
        + chunk(b"IEND", b"")
    )


def refused(answer, status, text):
    """Every refusal is one status, one sentence, and how to mend it; no path of this machine."""
    assert answer.status_code == status, answer.text
    assert text in answer.json()["error"]
    assert set(answer.json()) == {"error", "mend"}
    assert "/" not in answer.json()["error"]


def test_what_is_refused(ask, local, photo):
    good = file_of(photo)
    noise = np.random.default_rng(0).integers(0, 256, (140, 140, 3), np.uint8)
    post = [
        ({"content": b""}, 400, "no body"),
        ({"content": b"hello"}, 415, "not an image"),
        ({"content": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"}, 415, "not an image"),
        ({"content": good[: len(good) // 2]}, 422, "unreadable image"),
        ({"content": file_of(np.zeros((150, 150, 3), np.uint8))}, 413, "150x150 has more than 0.0 million pixels"),
        ({"content": bomb()}, 413, "40000x40000 has more than 0.0 million pixels"),
        ({"content": file_of(noise, "BMP") + bytes(2000)}, 413, "more than 0.05"),
        ({"files": {"file": ("a.png", good)}}, 415, "forms are not read"),
        ({"json": {"image": "https://example.org/a.png"}}, 400, "nothing is fetched"),
        ({"json": {"image": "file:///etc/passwd"}}, 400, "nothing is fetched"),
        ({"json": {"image": "*"}}, 400, "not base64"),
        ({"json": {"picture": "a"}}, 400, 'not a JSON object with "image"'),
        ({"json": [1]}, 400, 'not a JSON object with "image"'),
        ({"content": b"[" * 50_000, "headers": {"Content-Type": "application/json"}}, 400, "not a JSON object"),
        ({"content": b"\xff\xfe", "headers": {"Content-Type": "application/json"}}, 400, "not a JSON object"),
    ]
    for options, status, text in post:
        refused(ask("POST", SEGMENT, **options), status, text)
    refused(ask("POST", SEGMENT + "?fromat=rle", content=good), 400, "no such option: fromat")
    refused(ask("POST", "/models/other/segment", content=good), 404, "no such model")
    refused(ask("GET", "/other"), 404, "Not Found")
    refused(ask("GET", SEGMENT), 405, "Method Not Allowed")
    refused(ask("POST", SEGMENT + "?format=gif", content=good), 400, "format: Input should be 'png', 'rle' or 'npz'")
    assert local.counted[0] == ("tiny", 400)
    assert local.counted[-1] == ("", 404)


def test_a_body_that_is_announced_too_large_is_not_read(ask):
    read = []

    async def chunks():
        read.append(1)
        yield b"x"

    refused(ask("POST", SEGMENT, content=chunks(), headers={"Content-Length": "60001"}), 413, "more than")
    assert not read


def test_a_body_without_announced_size_is_cut_at_the_limit(ask):
    sent = []

    async def chunks():
        for _ in range(1000):
            sent.append(10_000)
            yield bytes(10_000)

    refused(ask("POST", SEGMENT, content=chunks()), 413, "more than")
    assert sum(sent) <= 80_000


def test_whoever_comes_when_enough_wait_is_refused_unread(ask, local):
    read = []

    async def chunks():
        read.append(1)
        yield b"x"

    local.full = True
    try:
        answer = ask("POST", SEGMENT, content=chunks())
    finally:
        local.full = False
    refused(answer, 503, "too many requests are waiting")
    assert answer.headers["retry-after"] == "1"
    assert not read


def test_a_slow_sender_is_cut_off(ask):
    async def chunks():
        for _ in range(50):
            await asyncio.sleep(0.05)
            yield b"\x89PNG"

    refused(ask("POST", SEGMENT, content=chunks()), 408, "did not arrive within 0.4 s")


def test_all_uploads_together_are_limited(local):
    patient = replace(LIMITS, upload_seconds=30.0)  # the uploads take a while, more on a busy machine
    app = build_application(local, {"tiny": local.model.card}, patient)

    async def slowly():
        yield bytes(59_000)
        await asyncio.sleep(0.3)

    async def all_at_once():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            first = await asyncio.gather(*(client.post(SEGMENT, content=slowly()) for _ in range(20)))
            return first, await client.post(SEGMENT, content=slowly())

    first, later = asyncio.run(all_at_once())
    statuses = sorted(answer.status_code for answer in first)
    assert statuses == [415] * 16 + [503] * 4
    assert next(a for a in first if a.status_code == 503).headers["retry-after"] == "1"
    assert later.status_code == 415, "what was held has been given back"


def test_nothing_that_is_sent_makes_it_fail(ask, photo):
    """Damaged images of every format: a mask or a refusal, never a 500."""
    chance = random.Random(1)
    seen = set()
    for form in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"):
        whole = file_of(photo[:40, :50], form)
        for _ in range(60):
            data = bytearray(whole[: chance.choice([len(whole), chance.randrange(len(whole))])])
            for _ in range(chance.choice([0, 1, 8, 64])):
                data[chance.randrange(len(data))] = chance.randrange(256)
            answer = ask("POST", SEGMENT, content=bytes(data))
            seen.add(answer.status_code)
    assert seen <= {200, 413, 415, 422}
    assert seen >= {200, 415, 422}


def test_a_password_is_asked_of_everything_but_health(local, photo):
    ask = asker(build_application(local, {"tiny": local.model.card}, LIMITS, ("me", "se:cret")))
    for path in ("/models", "/docs", "/openapi.json", "/nothing"):
        assert ask("GET", path).status_code == 401, path
    answer = ask("POST", SEGMENT, content=file_of(photo))
    refused(answer, 401, "name or password")
    assert answer.headers["www-authenticate"].startswith("Basic")
    for wrong in (("me", "guess"), ("you", "se:cret"), ("", "")):
        assert ask("POST", SEGMENT, content=file_of(photo), auth=wrong).status_code == 401
    assert (
        ask("POST", SEGMENT, content=file_of(photo), headers={"Authorization": "Basic é".encode()}).status_code == 401
    )
    assert ask("POST", SEGMENT, content=file_of(photo), auth=("me", "se:cret")).status_code == 200
    assert ask("GET", "/health").text == "ok"
    assert ask("GET", "/ready").status_code == 200


def test_ready_names_the_models_that_do_not_run(ask, local):
    assert ask("GET", "/ready").status_code == 200
    local.gone = ["tiny"]
    try:
        refused(ask("GET", "/ready"), 503, "not running: tiny")
    finally:
        local.gone = []


@pytest.mark.parametrize("path", ["/health", "/ready", "/models", "/docs"])
def test_head_is_answered_as_get(ask, path):
    assert ask("HEAD", path).status_code == 200
    assert ask("HEAD", SEGMENT).status_code == 405


def test_models_are_described(ask, local):
    [model] = ask("GET", "/models").json()
    assert model["name"] == "tiny"
    assert [c["name"] for c in model["classes"]] == local.model.card.names
    assert model["limits"] == {"file_bytes": 60_000, "pixels": 20_000}


def test_the_api_is_documented_without_the_network(ask):
    page = ask("GET", "/docs").text
    assert "swagger" in page
    assert "https://" not in page.replace("https://fastapi.tiangolo.com/img/favicon.png", "")
    operation = ask("GET", "/openapi.json").json()["paths"]["/models/{model}/segment"]["post"]
    assert set(operation["requestBody"]["content"]) == {"application/octet-stream", "application/json"}
    assert {str(status) for status in _REFUSALS} <= set(operation["responses"])


def test_every_refusal_is_in_the_guide():
    guide = (Path(__file__).parents[3] / "docs" / "serving.md").read_text()
    for status in _REFUSALS:
        assert f"| {status} |" in guide, status


def test_refusals_survive_a_process_boundary():
    import pickle

    copy = pickle.loads(pickle.dumps(Refusal(413, "large", "scale it")))
    assert (copy.status, copy.what, copy.mend) == (413, "large", "scale it")


def test_run_lengths_are_cocos(local, photo):
    from pycocotools import mask as coco

    prediction = local.model(photo)
    body, media_type = encode(prediction, local.model.card, "rle")
    assert media_type == "application/json"
    found = json.loads(body)
    assert (found["height"], found["width"]) == (97, 131)
    assert {c["id"] for c in found["classes"]} == set(np.unique(prediction.labels))
    for entry in found["classes"]:
        mask = coco.decode(coco.frPyObjects(entry["segmentation"], 97, 131))
        np.testing.assert_array_equal(mask, prediction.labels == entry["id"])
        assert entry["pixels"] == mask.sum()
        assert entry["share"] == pytest.approx(mask.mean())
        assert entry["mean_confidence"] == pytest.approx(prediction.confidence[mask > 0].mean(), abs=1e-3)
