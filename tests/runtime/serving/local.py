"""The endpoint without Ray: its application over a model in this process."""

import asyncio
import contextlib
import io
import struct
import zlib

import httpx
from PIL import Image

from segtool.errors import SegtoolError
from segtool.runtime import load
from segtool.runtime.serving.answers import Answer, encode
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
            image = self.model.reader.decode(data, LIMITS.pixels).values
        except SegtoolError as error:
            raise refusal_of(error) from error
        return Answer(*encode(self.model(image), self.model.card, form), {"segment": 0.1})

    async def missing(self):
        return self.gone

    def count(self, model, status, seconds):
        self.counted.append((model, status))


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
