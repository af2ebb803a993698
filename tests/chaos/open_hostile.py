"""Opens and runs every model of a folder, in a process of its own: FOLDER. One line of JSON for each.

It ends with another exit code than 0 if one of them takes the process with it; the last line then names the one before.
"""

import faulthandler
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from segtool.errors import SegtoolError

IMAGE = np.random.default_rng(0).integers(0, 256, (1, 40, 50, 3), np.uint8)


def run(path: Path) -> str:
    """What opening and running it came to."""
    try:
        if path.suffix == ".onnx":
            import segtool.runtime

            segtool.runtime.load(path, backend="cpu", threads=1)(IMAGE[0])
        else:
            from segtool.train.checkpoint import load_segmenter
            from segtool.train.predict import TorchPredictor

            TorchPredictor(load_segmenter(path)[0])(IMAGE[0])
    except SegtoolError as error:
        return "many lines" if "\n" in str(error) else "refused"
    except Exception as error:  # what the test looks for
        return f"{type(error).__name__}: {str(error)[:200]}"
    return "ran"


def main() -> None:
    """Each file in turn."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    for path in sorted(Path(sys.argv[1]).iterdir()):
        print(json.dumps({"file": path.name, "begun": True}), flush=True)
        start = time.monotonic()
        print(json.dumps({"file": path.name, "end": run(path), "seconds": time.monotonic() - start}), flush=True)


main()
