"""The library's portable code finds on arm64 what it finds here (cross-compiled, and run by an emulator)."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "crf" / "native"
PARTS = ("lattice", "filter", "spatial", "update_rows", "update_planes", "mean_field")
CPU = ("api", "threads", *(f"{part}_cpu" for part in PARTS))


def _digests(tmp_path, compiler, *emulator):
    program = tmp_path / "probe"
    sources = [*(str(SOURCES / f"{name}.cpp") for name in CPU), str(HERE / "portable" / "probe.cpp")]
    # As CMakeLists.txt has it: arm64 compilers would contract to fused multiply-add otherwise, and move vertices.
    flags = ["-O2", "-std=c++17", "-pthread", "-ffp-contract=off", "-Wno-psabi", "-static", f"-I{SOURCES}"]
    subprocess.run([compiler, *flags, *sources, "-o", program], check=True)
    return subprocess.check_output([*emulator, program], text=True)


@pytest.mark.slow
def test_same_vertices_and_labels_on_arm64(tmp_path):
    tools = [shutil.which(name) for name in ("g++", "aarch64-linux-gnu-g++", "qemu-aarch64-static")]
    if None in tools:
        pytest.skip("needs g++, aarch64-linux-gnu-g++ and qemu-aarch64-static")
    here, cross, emulator = tools
    assert _digests(tmp_path, cross, emulator) == _digests(tmp_path, here)
