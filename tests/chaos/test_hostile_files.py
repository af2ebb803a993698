"""Campaigns of damaged images and models: each is refused in one line or read, and nothing else happens.

Seeded, so that a failure can be had again. SEGTOOL_CHAOS=10 makes ten times as many.
"""

import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import onnx
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from segtool.card import METADATA_KEY

from .mutations import damaged, twisted

pytestmark = pytest.mark.slow
MANY = int(os.environ.get("SEGTOOL_CHAOS", "1"))
_KINDS = {
    "a.jpg": ("RGB", {}), "b.png": ("P", {}), "c.png": ("RGBA", {}), "d.png": ("I;16", {}), "e.webp": ("RGB", {}),
    "f.tif": ("RGB", {"compression": "tiff_lzw"}), "g.gif": ("P", {}), "h.bmp": ("RGB", {}), "i.ppm": ("RGB", {}),
    "j.tif": ("F", {}), "k.avif": ("RGB", {}), "l.jpg": ("CMYK", {}), "m.png": ("LA", {}),
}  # fmt: skip


def picture(name):
    mode, options = _KINDS[name]
    pixels = np.random.default_rng(3).integers(0, 256, (47, 61, 3), np.uint8)
    if mode in ("I;16", "F"):
        image = Image.fromarray(pixels[..., 0].astype(np.uint16 if mode == "I;16" else np.float32) * 257)
    else:
        image = Image.fromarray(pixels).convert(mode)
    file = io.BytesIO()
    image.save(file, {"jpg": "jpeg", "tif": "tiff"}.get(name[2:], name[2:]), **options)
    return file.getvalue()


def test_images(tiny_onnx, tmp_path):
    random, count = Random(1), 400 * MANY
    (tmp_path / "in").mkdir()
    for i in range(count):
        name = random.choice([*_KINDS])
        (tmp_path / "in" / f"{i:05d}{Path(name).suffix}").write_bytes(damaged(picture(name), random))
    command = [sys.executable, "-m", "segtool", "predict", tiny_onnx, "in", "--out", "out"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600 * MANY)
    assert result.returncode in (0, 2), result.stderr[-2000:]
    assert "Traceback" not in result.stderr
    assert "fault of segtool" not in result.stderr
    masks, lines = [*(tmp_path / "out").glob("*.png")], result.stderr.splitlines()
    assert all(line.startswith("segtool: ") for line in lines), lines  # no library writes past us
    assert len(masks) + len(lines) == count, lines[:5]
    assert len(masks) > count / 10, "some of them can still be read"
    assert f"{len(masks)} of {count} images written" in result.stdout
    for mask in masks:
        Image.open(mask).load()
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def opened(folder):
    """How each file of a folder ended."""
    command = [sys.executable, Path(__file__).with_name("open_hostile.py"), folder]
    environment = {**os.environ, "HF_HUB_OFFLINE": "0"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=900 * MANY, env=environment)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0, f"{lines[-1:]} took the process with it: {result.stderr[-2000:]}"
    ends = {line["file"]: line["end"] for line in lines if "end" in line}
    odd = {name: end for name, end in ends.items() if end not in ("ran", "refused")}
    assert odd == {}
    slow = {line["file"]: line["seconds"] for line in lines if line.get("seconds", 0) > 60}
    assert slow == {}
    return Counter(ends.values())


def test_exported_models_with_damaged_bytes(tiny_onnx, tmp_path):
    random, content = Random(2), tiny_onnx.read_bytes()
    for i in range(60 * MANY):
        (tmp_path / f"{i:05d}.onnx").write_bytes(damaged(content, random))
    ends = opened(tmp_path)
    assert ends["refused"] > 0


def test_exported_models_with_twisted_cards(tiny_onnx, tmp_path):
    random, model = Random(3), onnx.load(tiny_onnx)
    place = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    card = place.value
    for i in range(40 * MANY):
        place.value = twisted(card, random)
        onnx.save(model, tmp_path / f"{i:05d}.onnx")
    assert opened(tmp_path)["refused"] > 0


def test_checkpoints(tiny_run, tmp_path):
    random, path = Random(4), tiny_run / "model.safetensors"
    content, tensors = path.read_bytes(), load_file(path)
    with safe_open(path, "np") as file:
        card = file.metadata()[METADATA_KEY]
    for i in range(30 * MANY):
        (tmp_path / f"{i:05d}-bytes.safetensors").write_bytes(damaged(content, random))
        save_file(tensors, tmp_path / f"{i:05d}-card.safetensors", metadata={METADATA_KEY: twisted(card, random)})
    assert opened(tmp_path)["refused"] > 0
