"""Lattice, filter and mean field on the CPU: the native library against the plain torch lattice."""

import argparse
from pathlib import Path

import torch
from common import RESULTS, medians, picture, print_rows, write_results

from segtool.bilateral import torch_lattice, torch_ops
from segtool.train.models import DenseCRF, KernelWidths

SIZES = ((500, 375, 21), (1000, 750, 21))
ALPHA, BETA = 80.0, 13.0


@torch.inference_mode()
def measure(width: int, height: int, classes: int, runs: int) -> dict[str, object]:
    """One row of the table."""
    image, values = picture(width, height), torch.rand(1, classes, height, width)
    native, plain = (face.bilateral_lattice(image, ALPHA, BETA) for face in (torch_ops, torch_lattice))
    crf = DenseCRF(classes, KernelWidths(3.0, ALPHA, BETA), (3.0, 10.0))
    calls = {
        "lattice, native": lambda: torch_ops.bilateral_lattice(image, ALPHA, BETA),
        "lattice, plain": lambda: torch_lattice.bilateral_lattice(image, ALPHA, BETA),
        "filter, native": lambda: torch_ops.bilateral_filter(values, *native),
        "filter, plain": lambda: torch_lattice.bilateral_filter(values, *plain),
        "CRF, 10 iterations, native": lambda: crf(values, image, 10),
    }
    size = f"{width}x{height}x{classes}"
    return {"size": size, "vertices": native[2].shape[2], **medians(calls, runs)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [measure(*size, options.runs) for size in SIZES]
    print_rows(rows)
    print(write_results("cpu", rows, options.out, unit="median milliseconds"))


if __name__ == "__main__":
    main()
