"""What the endpoint refuses, without Ray, and that nothing sent makes it fail."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np

from segtool.runtime.serving.application import _REFUSALS, build_application
from segtool.runtime.serving.limits import Refusal

from .local import LIMITS, SEGMENT, bomb, file_of, refused


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


def test_every_refusal_is_in_the_guide():
    guide = (Path(__file__).parents[3] / "docs" / "serving.md").read_text()
    for status in _REFUSALS:
        assert f"| {status} |" in guide, status


def test_refusals_survive_a_process_boundary():
    import pickle

    copy = pickle.loads(pickle.dumps(Refusal(413, "large", "scale it")))
    assert (copy.status, copy.what, copy.mend) == (413, "large", "scale it")
