"""All checks that need a GPU, in one command: the tests marked `gpu`, then timings with JSON."""

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from common import RESULTS, medians, picture, print_rows, write_results

from segtool.bilateral import library, torch_ops
from segtool.train.models import DenseCRF, KernelWidths

SIZES = ((500, 375, 21), (2048, 1024, 19))
ALPHA, BETA = 80.0, 13.0
TESTS = Path(__file__).parents[1] / "tests"


@torch.inference_mode()
def measure(width: int, height: int, classes: int, runs: int) -> dict[str, object]:
    """One row: milliseconds on the device, each call waited for."""
    image, values = picture(width, height).cuda(), torch.rand(1, classes, height, width, device="cuda")
    lattice = torch_ops.bilateral_lattice(image, ALPHA, BETA)
    crf = DenseCRF(classes, KernelWidths(3.0, ALPHA, BETA), (3.0, 10.0)).cuda()

    def waited(call):  # type: ignore[no-untyped-def]
        def run() -> None:
            call()
            torch.cuda.synchronize()

        return run

    calls = {
        "lattice": waited(lambda: torch_ops.bilateral_lattice(image, ALPHA, BETA)),
        "filter": waited(lambda: torch_ops.bilateral_filter(values, *lattice)),
        "CRF, 10 iterations": waited(lambda: crf(values, image, 10)),
    }
    size = f"{width}x{height}x{classes}"
    return {"size": size, "vertices": lattice[2].shape[2], **medians(calls, runs)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if not torch.cuda.is_available() or not library.has_cuda():
        sys.exit("needs a CUDA device, and a segtool built with CUDA")
    tests = subprocess.run([sys.executable, "-m", "pytest", "-m", "gpu", str(TESTS)], check=False).returncode
    rows = [measure(*size, options.runs) for size in SIZES]
    print_rows(rows)
    device = torch.cuda.get_device_name()
    print(write_results("gpu", rows, options.out, unit="median milliseconds", device=device, tests_passed=tests == 0))
    sys.exit(tests)


if __name__ == "__main__":
    main()
