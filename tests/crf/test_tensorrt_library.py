"""Plugins driven by TensorRT's own interfaces: the C++ library's, and those in Python behind TensorRT's bindings.

TensorRT's headers are in no wheel: SEGTOOL_TENSORRT_INCLUDE says where they lie.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segtool.crf import library, tensorrt_operators
from segtool.crf.library import OVERFLOW
from segtool.crf.tensorrt_operators import OPERATORS

from .compiler import SOURCES, STAND_IN
from .one_iteration import check_one_iteration
from .tensorrt_driver import BY_NAME, KINDS, Driver

FOLDER = Path(__file__).parent / "tensorrt_library"


@pytest.fixture(scope="module")
def headers():
    folder = os.environ.get("SEGTOOL_TENSORRT_INCLUDE")
    if not folder:
        pytest.skip("needs TensorRT's headers: SEGTOOL_TENSORRT_INCLUDE=FOLDER of NvInfer.h")
    return folder


@pytest.fixture(scope="module")
def plugins(headers, emulated, tmp_path_factory):
    """The plugin library on the CUDA kernels compiled for the CPU, and what drives it."""
    out = tmp_path_factory.mktemp("plugins") / "libplugins.so"
    return _compiled(out, headers, *(SOURCES / "tensorrt").glob("*.cpp"), emulated[1])


def _compiled(out, headers, *with_driver):
    flags = ["-O1", "-std=c++17", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"]
    includes = [f"-I{STAND_IN}", f"-I{SOURCES}", "-isystem", headers]
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    subprocess.run([compiler, *flags, *includes, FOLDER / "drive.cpp", *with_driver, "-o", out], check=True)
    return out


def test_the_registry_of_the_lean_runtime_finds_them(plugins):
    """Loaded as trtexec loads it; in a process of its own, which the registry outlives."""
    if importlib.util.find_spec("tensorrt_lean") is None:
        pytest.skip("the wheel tensorrt-lean-cu13 is for Linux on x86-64")
    code = """if True:
        import os, sys, tensorrt_lean as trt
        registry = trt.get_plugin_registry()
        assert registry.load_library(sys.argv[1]) is not None
        for name in sys.argv[2:]:
            creator = registry.get_creator(name, "1", "segtool")
            print(name, *(field.name for field in creator.field_names))
            plugin = creator.create_plugin("node", trt.PluginFieldCollection([]), trt.TensorRTPhase.BUILD)
            assert plugin.get_capability_interface(trt.PluginCapabilityType.BUILD) is not None
        sys.stdout.flush()
        os._exit(0)
    """
    command = [sys.executable, "-c", code, str(plugins), *BY_NAME]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    expected = [" ".join([o.name, *(field.name for field in o.fields)]) for o in OPERATORS]
    assert found.stdout.splitlines() == expected, found.stderr


@pytest.fixture
def driver(plugins, emulated, monkeypatch):
    """Drives the library's plugins, with the CUDA kernels running on the CPU."""
    monkeypatch.setattr(library, "library", lambda: emulated[0])
    return Driver(plugins)


@pytest.mark.parametrize("vertices_per_pixel", [0.1, 0.5, 0.0625, 6.0])
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 3, 40, 50), (2, 3, 100, 101), (1, 3, 1024, 2048)])
def test_plans_are_those_of_the_python_plugins(driver, shape, vertices_per_pixel):
    """An engine that one of the two built is one that the other can run."""
    fields = {"spatial_sigma": 80.0, "color_sigma": 13.0, "vertices_per_pixel": vertices_per_pixel, "sigma": 3.0}
    fields["vertices_per_pixel"] = float(np.float32(vertices_per_pixel))
    extents = tensorrt_operators.Extents()
    n, _, height, width = shape
    lattice, filtered = BY_NAME["BilateralLattice"], (n, 11, height, width)
    shapes = {
        "BilateralLattice": [shape],
        "BilateralFilter": [filtered, *map(tuple, lattice.shapes(extents, fields, shape))],
        "SpatialFilter": [filtered],
        "MeanFieldUpdate": [filtered] * 3 + [(11, 11)] * 2,
    }
    for operator in OPERATORS:
        given = shapes[operator.name]
        expected = [tuple(s) for s in operator.shapes(extents, fields, *given)]
        found, kinds, workspace = driver.plan(operator.name, fields, *given)
        assert found == expected, operator.name
        assert kinds == [KINDS[kind][1] for kind in operator.outputs]
        assert workspace == operator.workspace(given, expected, fields)


def test_one_iteration_is_that_of_the_cpu_library(driver, photo):
    check_one_iteration(driver.run, photo)


def test_a_lattice_that_does_not_fit_gives_no_numbers(driver):
    noise = np.random.default_rng(0).integers(0, 256, (1, 3, 200, 200)).astype(np.float32)
    fields = {"spatial_sigma": 3.0, "color_sigma": 3.0, "vertices_per_pixel": 0.1}
    vertex, weight, neighbor, status = driver.run("BilateralLattice", fields, noise)
    assert (status[1], neighbor.shape[2]) == (OVERFLOW, 16384)
    values = np.ones((1, 2, 200, 200), np.float32)
    (message,) = driver.run("BilateralFilter", {}, values, vertex, weight, neighbor, status)
    assert np.isnan(message).all()


def test_plugins_in_python_behind_tensorrt_s_own_bindings(headers, emulated, photo, tmp_path):
    """What TensorRT calls in C++ comes to Python and back; in a process of its own, which the registry outlives."""
    spec = importlib.util.find_spec("tensorrt_rtx_libs")
    if spec is None:
        pytest.skip("the wheel tensorrt-rtx-cu13 is for Linux on x86-64")
    (registry,) = Path(spec.submodule_search_locations[0]).glob("libtensorrt_rtx.so.*")
    driver = _compiled(tmp_path / "libregistry.so", headers, FOLDER / "registry.cpp", registry)
    np.save(tmp_path / "photo.npy", photo)
    command = [sys.executable, "-m", "tests.crf.python_plugins", emulated[1], driver, tmp_path / "photo.npy"]
    environment = os.environ | {"LD_LIBRARY_PATH": str(registry.parent)}
    root = Path(__file__).parents[2]
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    assert result.stdout.splitlines()[-1:] == ["one iteration, and its plan"], result.stderr
