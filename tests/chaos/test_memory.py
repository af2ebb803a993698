"""The largest image that is read without being asked for takes less than 2 GB, of whatever kind it is."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from segtool.images import MOST_PIXELS
from tests.runtime.serving.local import bomb

pytestmark = pytest.mark.slow
_SIDE = int(MOST_PIXELS**0.5)
_READ = r"""
import re, sys
from pathlib import Path
from segtool.images import read_image
assert read_image(sys.argv[1]).shape == ({side}, {side}, 3)
# Not getrusage: its maximum counts what the process that started this one had.
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""

_ANY = r"""
import atexit, re, sys
from pathlib import Path
from segtool.cli import main
atexit.register(lambda: print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]))
sys.argv[0] = "segtool"
main()
"""


@pytest.mark.parametrize(
    ("mode", "name", "options"),
    [
        ("RGB", "a.jpg", {}),
        ("CMYK", "a.jpg", {}),
        ("RGBA", "a.png", {"compress_level": 1}),
        ("LA", "a.png", {"compress_level": 1}),
        ("P", "a.png", {"compress_level": 1, "transparency": 0}),
        ("I;16", "a.png", {"compress_level": 1}),
        ("F", "a.tif", {"compression": "tiff_lzw"}),
    ],
)
def test_the_largest_image(tmp_path, mode, name, options):
    shape = (_SIDE, _SIDE)
    levels = {"I;16": np.uint16, "F": np.float32}
    image = Image.fromarray(np.full(shape, 4000, levels[mode])) if mode in levels else Image.new(mode, shape)
    image.save(tmp_path / name, **options)
    del image
    command = [sys.executable, "-c", _READ.format(side=_SIDE), tmp_path / name]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert int(result.stdout) < 2_000_000  # KiB


def test_the_largest_images_in_tiles(tmp_path, tiny_onnx):
    """All of the command: reading, the network, and both files that it writes, of one image after the other."""
    (tmp_path / "in").mkdir()
    Image.new("CMYK", (_SIDE, _SIDE)).save(tmp_path / "in" / "a.jpg")
    Image.new("RGB", (_SIDE, _SIDE)).save(tmp_path / "in" / "b.png", compress_level=1)
    command = [sys.executable, "-c", _ANY, "predict", tiny_onnx, "in", "--out", "out", "--tile", "1024x1024"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.splitlines()[-1]) < 2_000_000  # KiB
    for name in ("a", "b"):
        with Image.open(tmp_path / "out" / f"{name}.png") as mask:
            assert mask.size == (_SIDE, _SIDE)


@pytest.mark.parametrize("command", [["predict", "MODEL", "in", "--out", "out"], ["data", "check", "folder:."]])
def test_images_that_claim_to_be_large(tmp_path, tiny_onnx, command):
    """A few bytes are refused by their header, in every command that reads folders."""
    for folder in ("in", "train/images", "train/masks", "val/images", "val/masks"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.png").write_bytes(bomb() + folder.encode())  # no file twice
    (tmp_path / "in" / "b.gif").write_bytes(b"GIF89a" + (30_000).to_bytes(2, "little") * 2 + bytes(3) + b",")
    (tmp_path / "classes.yaml").write_text("classes: [a, b]\n")
    arguments = [str(tiny_onnx) if part == "MODEL" else part for part in command]
    result = subprocess.run(
        [sys.executable, "-c", _ANY, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert "million pixels" in result.stdout + result.stderr
    assert int(result.stdout.splitlines()[-1]) < 1_000_000  # KiB
