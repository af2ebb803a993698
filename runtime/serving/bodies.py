"""From a request's body to the bytes of an image file, within the limits."""

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator

from segtool.errors import SegtoolError
from segtool.images import NotAnImage, TooManyPixels
from segtool.readers import PICTURES, Reader
from segtool.runtime.serving.limits import Limits, Refusal

_BASE64 = 'send {"image": "..."} with the file in base64'


class Uploads:
    """Reads bodies; all together may hold no more than `limits.held_bytes`."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._held = 0

    async def read(
        self, chunks: AsyncIterator[bytes], media_type: str, announced: int | None, reader: Reader = PICTURES
    ) -> bytes:
        """The image file that a request holds.

        Args:
            chunks: of the body, as they arrive.
            media_type: application/json for base64; otherwise the body is the file, whatever its type is called.
            announced: Content-Length, if it was sent.
            reader: of the model that is asked.

        Raises:
            Refusal: too large, too slow, not an image, or too much is being uploaded at once.
        """
        if media_type == "multipart/form-data":
            raise Refusal(415, "forms are not read", "send the file itself: curl --data-binary @image.jpg")
        as_json = media_type == "application/json"
        most = self.limits.file_bytes * 4 // 3 + 1024 if as_json else self.limits.file_bytes
        if announced is not None and announced > most:
            raise self._too_large()
        try:
            async with asyncio.timeout(self.limits.upload_seconds):
                body = await self._gather(chunks, most)
        except TimeoutError as error:
            seconds = self.limits.upload_seconds
            raise Refusal(408, f"the image did not arrive within {seconds:g} s", "send it again") from error
        return await asyncio.to_thread(_image_file, body, as_json, self.limits.pixels, reader)

    async def _gather(self, chunks: AsyncIterator[bytes], most: int) -> bytes:
        body = bytearray()
        try:
            async for chunk in chunks:
                body += chunk
                self._held += len(chunk)
                if len(body) > most:
                    raise self._too_large()
                if self._held > self.limits.held_bytes:
                    raise Refusal(503, "too much is being uploaded at once", "try again later")
            return bytes(body)
        finally:
            self._held -= len(body)

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the file has more than {self.limits.file_bytes / 2**20:g} MiB", "compress or scale it")


def _image_file(body: bytes, as_json: bool, pixels: int, reader: Reader) -> bytes:
    data = _from_json(body) if as_json else body
    if not data:
        raise Refusal(400, "the request has no body", "send an image file")
    try:
        reader.check(data, pixels)
    except SegtoolError as error:
        raise refusal_of(error) from error
    return data


def _from_json(body: bytes) -> bytes:
    try:
        text = json.loads(body)["image"]
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise Refusal(400, 'not a JSON object with "image"', _BASE64) from error
    if not isinstance(text, str) or text.startswith(("http:", "https:", "file:", "s3:", "gs:")):
        raise Refusal(400, "an address, or no text, where the image should be: nothing is fetched", _BASE64)
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, "not base64", _BASE64) from error


def refusal_of(error: SegtoolError) -> Refusal:
    """How the endpoint says what is wrong with an image."""
    status = 415 if isinstance(error, NotAnImage) else 413 if isinstance(error, TooManyPixels) else 422
    return Refusal(status, error.what, error.mend or "")
