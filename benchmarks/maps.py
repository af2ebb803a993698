"""Memory and time of `segtool predict --map`: maps of several sizes, the same memory.

    python benchmarks/maps.py --model MODEL.onnx [--side 20000]

MODEL is any file of `segtool export --logits`. Peak memory is that of the whole process (VmHWM).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from common import RESULTS, print_rows, write_results
from rasterio.transform import from_origin
from rasterio.windows import Window

from segtool.runtime import card_of

BLOCK = 2000


def write_map(path: Path, side: int) -> None:
    """A map of four bands of 8 bits: smooth areas of several colours with noise."""
    random = np.random.default_rng(0)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 4, "height": side, "width": side, "tiled": True}
    profile |= {"compress": "deflate", "crs": "EPSG:32633", "alpha": "no", "bigtiff": "if_safer"}
    with rasterio.open(path, "w", **profile, transform=from_origin(0, 0, 1, 1)) as file:
        for top in range(0, side, BLOCK):
            for left in range(0, side, BLOCK):
                height, width = min(BLOCK, side - top), min(BLOCK, side - left)
                coarse = random.integers(0, 256, (4, height // 100 + 1, width // 100 + 1), np.uint8)
                fine = np.kron(coarse, np.ones((1, 100, 100), np.uint8))[:, :height, :width]
                noise = random.integers(0, 24, (1, height, width), np.uint8)
                pixels = np.clip(fine // 2 + 64 + noise, 0, 255).astype(np.uint8)
                file.write(pixels, window=Window(left, top, width, height))


def measure(model: Path, path: Path, out: Path) -> dict[str, float]:
    """Runs the command in a process of its own."""
    code = (
        "import sys; from segtool.cli import main\n"
        f"sys.argv = ['segtool', 'predict', {str(model)!r}, {str(path)!r}, '--out', {str(out)!r}, '--map']\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end.code\n"
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    )
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - begun
    return {"seconds": round(seconds, 1), "peak_mib": round(int(done.stdout.split()[-1]) / 1024)}


def main() -> None:
    """Measures maps of an eighth, a quarter and the whole of the side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--model", type=Path, required=True, help="a file of segtool export --logits")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for side in (arguments.side // 8, arguments.side // 4, arguments.side):
            path = Path(folder) / f"{side}.tif"
            write_map(path, side)
            found = measure(arguments.model, path, Path(folder) / "out")
            rows.append({"side": side, "megapixels": round(side**2 / 1e6), **found})
            print(rows[-1], flush=True)
            path.unlink()
    print_rows(rows)
    write_results("maps", rows, RESULTS, classes=len(card_of(arguments.model).classes), tiles="1024x1024, overlap 256")


if __name__ == "__main__":
    main()
