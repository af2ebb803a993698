"""A model in a service of your own, with FastAPI. `segtool serve` does more: batches, limits, metrics, replicas.

pip install 'segtool[cpu]' fastapi uvicorn
MODEL=model.onnx uvicorn --app-dir examples service:app
curl --data-binary @photo.jpg http://127.0.0.1:8000/segment
"""

import os
from pathlib import Path

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from segtool.errors import SegtoolError
from segtool.images import decode_image
from segtool.runtime import load

MOST_BYTES, MOST_PIXELS = 16_000_000, 16_000_000

app = FastAPI()
model = load(Path(os.environ["MODEL"]))  # may be called from several threads


@app.post("/segment")
async def segment(request: Request) -> dict[str, float]:
    """The share of each class in an image, which is the request's body."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413, "the file is too large")
    try:
        return await run_in_threadpool(shares, bytes(body))
    except SegtoolError as error:
        raise HTTPException(400, error.what) from error


def shares(file: bytes) -> dict[str, float]:
    """The share of each class in the image of a file."""
    labels = model(decode_image(file, MOST_PIXELS)).labels  # too large an image is refused before it is decoded
    pixels = np.bincount(labels.ravel(), minlength=len(model.card.names))
    return {name: int(count) / labels.size for name, count in zip(model.card.names, pixels, strict=False) if count}
