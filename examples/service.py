"""A model in a service of your own, with FastAPI. `segtool serve` does more: batches, limits, metrics, replicas.

pip install 'segtool[cpu]' fastapi uvicorn
MODEL=model.onnx uvicorn --app-dir examples service:app
curl --data-binary @photo.jpg http://127.0.0.1:8000/segment
"""

import os
from pathlib import Path

import numpy as np
from fastapi import FastAPI, HTTPException, Request

from segtool.errors import SegtoolError
from segtool.images import decode_image
from segtool.runtime import load

MOST_BYTES, MOST_PIXELS = 16_000_000, 16_000_000

app = FastAPI()
model = load(Path(os.environ["MODEL"]))  # may be called from several threads


@app.post("/segment")
async def segment(request: Request) -> dict[str, float]:
    """The share of each class in an image, which is the request's body."""
    if int(request.headers.get("content-length", 0)) > MOST_BYTES:
        raise HTTPException(413, "the file is too large")
    try:
        image = decode_image(await request.body(), MOST_PIXELS)  # refused by its header, before it is decoded
        labels = model(image).labels
    except SegtoolError as error:
        raise HTTPException(400, error.what) from error
    pixels = np.bincount(labels.ravel(), minlength=len(model.card.names))
    return {name: int(count) / labels.size for name, count in zip(model.card.names, pixels, strict=False) if count}
