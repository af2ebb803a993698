"""The largest image that is read without being asked for takes less than 2 GB, of whatever kind it is."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from segtool.images import MOST_PIXELS

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
