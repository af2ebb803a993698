"""Good and hostile requests for a while: no 500, and memory that does not grow.

SEGTOOL_SOAK_SECONDS says for how long; a minute when it is not set.
"""

import asyncio
import base64
import collections
import io
import os
import random
import time

import httpx
import numpy as np
import pytest
from PIL import Image

from .local import bomb
from .server import png, running

SECONDS = float(os.environ.get("SEGTOOL_SOAK_SECONDS", "60"))


def hostile(photo, chance):
    """One request that somebody might send, and the statuses that are right for it."""
    good = png(photo)
    kinds = {
        "good": (good, {}, {200, 503}),
        "another size": (png(photo[: chance.randint(20, 97), : chance.randint(20, 131)]), {}, {200, 503}),
        "base64": (b'{"image": "%s"}' % base64.b64encode(good), {"Content-Type": "application/json"}, {200, 503}),
        "truncated": (good[: chance.randrange(60, len(good) - 100)], {}, {422, 503}),
        "noise": (chance.randbytes(2000), {}, {415, 503}),
        "bomb": (bomb(), {}, {413, 503}),
        "too many pixels": (_flat(4100, 4100), {}, {413, 503}),
        "too many bytes": (bytes(34 * 2**20), {}, {413, 503}),
        "bad json": (b"{", {"Content-Type": "application/json"}, {400, 503}),
        "address": (b'{"image": "http://127.0.0.1:1/x"}', {"Content-Type": "application/json"}, {400, 503}),
        "empty": (b"", {}, {400, 503}),
        "changed": (_changed(good, chance), {}, {200, 413, 415, 422, 503}),
    }
    name = chance.choice(list(kinds))
    return name, *kinds[name]


def _flat(width, height):
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def _changed(data, chance):
    changed = bytearray(data)
    for _ in range(20):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


async def _slowly(seconds):
    """A body that hardly comes."""
    for _ in range(int(seconds)):
        yield b"\x89"
        await asyncio.sleep(1)


async def _soak(server, photo, seconds, memory):
    seen = collections.Counter()
    end = time.monotonic() + seconds

    async def client_of(number):
        chance = random.Random(number)
        async with httpx.AsyncClient(timeout=120) as client:
            while time.monotonic() < end:
                name, body, headers, right = hostile(photo, chance)
                try:
                    status = (await client.post(server.url, content=body, headers=headers)).status_code
                except httpx.TransportError:  # the server may hang up on a body that it refused unread
                    status = 413
                seen[name, status] += 1
                assert status in right, f"{name}: {status}"
                if status == 503:
                    await asyncio.sleep(0.05)

    async def slow_sender():
        async with httpx.AsyncClient(timeout=120) as client:
            while time.monotonic() < end:
                status = (await client.post(server.url, content=_slowly(30))).status_code
                seen["slow", status] += 1
                assert status in (408, 503)

    async def hanging_connection():
        """Headers that never end."""
        host, port = server.root.removeprefix("http://").split(":")
        while time.monotonic() < end:
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /models/tiny/segment HTTP/1.1\r\nHost: x\r\n")
            await writer.drain()
            await asyncio.sleep(5)
            writer.close()

    async def watch():
        while time.monotonic() < end:
            memory.append(_memory(server))
            await asyncio.sleep(max(1.0, seconds / 60))

    clients = [client_of(i) for i in range(4)]
    await asyncio.gather(*clients, slow_sender(), slow_sender(), hanging_connection(), watch())
    return seen


def _memory(server):
    """MiB of the processes that read requests: private, as Ray's processes share much."""
    found = [server.gateway(), *server.replicas()]
    return sum(p.memory_full_info().uss for p in found) / 2**20


@pytest.mark.slow
def test_hostile_requests(tiny_onnx, tmp_path, photo):
    memory = []
    with running(tiny_onnx, tmp_path / "log.txt") as server:
        asyncio.run(_soak(server, photo, min(20, SECONDS / 3), []))  # buffers and pools reach their size
        seen = asyncio.run(_soak(server, photo, SECONDS, memory))
        before, after = np.median(memory[: len(memory) // 4]), np.median(memory[-len(memory) // 4 :])
        answer = httpx.post(server.url, content=png(photo), timeout=60)
    print(dict(seen), [round(m) for m in memory])
    assert answer.status_code == 200
    assert {name for name, _ in seen} >= {"good", "bomb", "truncated", "slow"}
    assert seen["good", 200] > 0
    assert seen["slow", 408] > 0
    assert after - before < 30 + 0.05 * before, f"{before:.0f} MiB grew to {after:.0f} MiB"
