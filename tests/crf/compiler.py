"""Compiling the native sources for the CPU, the CUDA kernels' too, on a stand-in for CUDA."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

STAND_IN = Path(__file__).parent / "cuda_on_cpu"
PTX_STAND_IN = Path(__file__).parent / "ptx_on_cpu"
SOURCES = Path(__file__).parents[2] / "crf" / "native"
COMMON = ["-std=c++17", "-pthread", "-ffp-contract=off", "-Wno-psabi"]
DEFINES = ["-DSEGTOOL_WITH_CUDA", "-DSEGTOOL_CUDA_ON_CPU"]
FUSED = ("filter_cuda", "spatial_cuda", "update_cuda")  # multiply and add in one, as CMakeLists.txt says


def compiled(out: Path, sources: Iterable[Path], *flags: str) -> Path:
    """A program, or with -shared a library; the test is skipped where there is no compiler."""
    compiler = _compiler()
    common = [
        "-O1",
        "-std=c++17",
        "-pthread",
        "-ffp-contract=off",
        "-Wno-psabi",
        *DEFINES,
        f"-I{SOURCES}",
        f"-I{STAND_IN}",
    ]
    subprocess.run([compiler, *common, *flags, "-x", "c++", *map(str, sources), "-o", str(out)], check=True)
    return out


def compiled_by_nvcc(out: Path, kernels: Iterable[Path], sources: Iterable[Path], *flags: str) -> Path:
    """The same of what nvcc makes of the kernels: its host code as it is, its PTX made C++ (ptx_on_cpu/)."""
    compiler, toolkit = _compiler(), _toolkit()
    # Hidden: a true CUDA runtime may be loaded too, by PyTorch.
    common = [
        compiler,
        "-std=c++17",
        "-pthread",
        "-ffp-contract=off",
        "-fPIC",
        "-fvisibility=hidden",
        "-Wno-psabi",
        *DEFINES,
    ]
    common += [f"-I{SOURCES}", f"-I{PTX_STAND_IN}", "-idirafter", str(toolkit / "include")]

    def objects(kernel: Path) -> list[str]:
        folder = out.parent / kernel.stem
        folder.mkdir()
        host, ptx = _host_and_ptx(toolkit, kernel, folder)
        translated = folder / "translated.cpp"
        subprocess.run([sys.executable, PTX_STAND_IN / "translate.py", ptx, translated], check=True)
        device = folder / "device.o"
        defines = [flag for flag in flags if flag.startswith("-D")]
        subprocess.run([*common, *defines, "-O2", "-w", "-c", translated, "-o", device], check=True)
        return [str(host), str(device)]

    with ThreadPoolExecutor(2) as pool:
        parts = [part for pair in pool.map(objects, kernels) for part in pair]
    code = [str(PTX_STAND_IN / "runtime.cpp"), *map(str, sources)]
    subprocess.run([*common, "-O1", *flags, *parts, "-x", "c++", *code, "-o", str(out)], check=True)
    return out


def _host_and_ptx(toolkit: Path, kernel: Path, folder: Path) -> tuple[Path, Path]:
    """An object of the host's code and, as text, the device's: the PTX that libraries carry for devices to come."""
    fused = f"--fmad={str(kernel.stem in FUSED).lower()}"
    flags = ["-c", "-arch=compute_90", "-std=c++17", "-O3", fused, *DEFINES, "--keep", "--keep-dir", folder]
    host = folder / "host.o"
    nvcc = [toolkit / "bin" / "nvcc", *flags, "-Xcompiler=-fPIC,-fvisibility=hidden", kernel, "-o", host]
    subprocess.run(nvcc, check=True, cwd=folder)
    return host, folder / f"{kernel.stem}.ptx"


def _compiler() -> str:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    return compiler


def _toolkit() -> Path:
    """The folder of the CUDA compiler that the library is built with."""
    folder = Path(__file__).parents[2] / "build" / "cuda" / "nvidia" / "cu13"
    if not (folder / "bin" / "nvcc").is_file():
        pytest.skip("needs nvcc: make build/cuda/.ready")
    return folder
