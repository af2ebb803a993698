"""What the CUDA kernels do in an iteration of the mean field: instructions of their PTX, counted.

The PTX is run on the CPU, as the tests do it (tests/crf/ptx_on_cpu). No GPU is needed and no time is measured:
the counts are the same in every run, and are for comparing versions of the kernels (`--native`). An instruction of PTX
is not one of the device: 64-bit integers take several, and a division takes many. Threads are counted one by one: where
those of a warp part, a device takes longer.
"""

import argparse
import ctypes
import re
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, picture, print_rows, write_results

sys.path.insert(0, str(Path(__file__).parents[1]))
from segtool.crf import cuda, library, native
from segtool.crf.layer import KernelWidths
from tests.crf.compiler import SOURCES, compiled_by_nvcc

SIZES = ((500, 375, 21), (256, 256, 150))
LAYOUTS = {"planes": torch.contiguous_format, "channels last": torch.channels_last}
WIDTHS = KernelWidths(3.0, 80.0, 13.0)
Counts = dict[str, Counter[str]]


def counting_library(sources: Path) -> ctypes.CDLL:
    """The library with the CUDA entries on the CPU, compiled from `sources` so that it counts."""
    folder = Path(tempfile.mkdtemp())
    flags = ["-shared", "-DSEGTOOL_COUNT"]
    lib = library.load(compiled_by_nvcc(folder / "lib.so", sources.glob("*.cu"), sources.glob("*.cpp"), *flags))
    lib.segtool_cuda_on_cpu_counts.restype = ctypes.c_char_p
    return lib


def kernel_name(symbol: str) -> str:
    """`blur<4>` of a mangled name."""
    length, rest = re.fullmatch(r".*_cu_[0-9a-f]{8}(\d+)(\D.*)", symbol).groups()
    template = re.match(r"I(?:Li)?(\w)E", rest[int(length) :])
    return rest[: int(length)] + (f"<{template[1]}>" if template else "")


def counts(lib: ctypes.CDLL) -> Counts:
    """Of every kernel since the last call, launches too."""
    found: Counts = defaultdict(Counter)
    for line in lib.segtool_cuda_on_cpu_counts().decode().splitlines():
        symbol, launches, opcode, count = line.split()
        kernel = found[kernel_name(symbol)]
        kernel["launches"] = int(launches)
        kernel[opcode] += int(count)
    return found


def iteration(lib: ctypes.CDLL, size: tuple[int, int, int], layout: torch.memory_format) -> Counts:
    """One iteration: what a mean field of one does beyond a mean field of none."""
    width, height, classes = size
    image = picture(width, height)
    logits = torch.randn(1, classes, height, width, generator=torch.Generator().manual_seed(0))
    logits, tables = logits.contiguous(memory_format=layout), (torch.eye(classes), torch.eye(classes))
    alpha, beta = WIDTHS.bilateral_alpha, WIDTHS.bilateral_beta
    vertices = native.bilateral_lattice(image.numpy(), alpha, beta).neighbor.shape[2]
    of = []
    for iterations in (0, 1):
        counts(lib)
        cuda.mean_field(logits, image, tuple(WIDTHS), tables, iterations, 0, vertices)
        of.append(counts(lib))
    return {name: found - of[0][name] for name, found in of[1].items() if found != of[0][name]}


def row(size: tuple[int, int, int], layout: str, name: str, found: Counter[str]) -> dict[str, Any]:
    """A kernel's counts, for each value of the logits."""
    width, height, classes = size
    launches = found.pop("launches")

    def each(prefix: str) -> float:
        total = sum(count for opcode, count in found.items() if opcode.startswith(prefix))
        return round(total / (width * height * classes), 2)

    return {
        "size": f"{width}x{height}x{classes}",
        "layout": layout,
        "kernel": name,
        "launches": launches,
        "instructions per value": each(""),
        "multiply-add": each("fma.rn.f32"),
        "global loads": each("ld.global"),
        "global stores": each("st.global"),
        "atomic additions": each("atom"),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--native", type=Path, default=SOURCES, help="another version of crf/native")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    lib = counting_library(options.native)
    library.library = lambda: lib
    rows = []
    for size in SIZES:
        for layout, memory_format in LAYOUTS.items():
            found = iteration(lib, size, memory_format)
            total: Counter[str] = sum(found.values(), Counter())
            rows += [row(size, layout, name, kernel) for name, kernel in sorted(found.items())]
            rows.append(row(size, layout, "all", total))
    print_rows(rows)
    print(write_results("instructions", rows, options.out))


if __name__ == "__main__":
    main()
