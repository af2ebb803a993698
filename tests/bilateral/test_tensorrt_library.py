"""The C++ plugin library: in the registry of TensorRT's lean runtime, and driven by TensorRT's own interfaces.

TensorRT's headers are in no wheel: SEGTOOL_TENSORRT_INCLUDE says where they lie.
"""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segtool.bilateral import library, tensorrt_operators
from segtool.bilateral.library import OVERFLOW
from segtool.bilateral.tensorrt_operators import OPERATORS

from .conftest import HERE as CUDA_ON_CPU
from .conftest import SOURCES
from .one_iteration import check_one_iteration

DRIVER = Path(__file__).parent / "tensorrt_library" / "drive.cpp"
BY_NAME = {operator.name: operator for operator in OPERATORS}
KINDS = {"FLOAT": (0, np.float32), "INT32": (3, np.int32)}  # of nvinfer1::DataType
DTYPES = dict(KINDS.values())


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
    sources = [*map(str, (SOURCES / "tensorrt").glob("*.cpp")), str(DRIVER)]
    flags = ["-O1", "-std=c++17", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"]
    includes = [f"-I{CUDA_ON_CPU}", f"-I{SOURCES}", "-isystem", headers]
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    subprocess.run([compiler, *flags, *includes, *sources, str(emulated[1]), "-o", str(out)], check=True)
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


class Described:
    """Shapes and types as the driver takes them."""

    def __init__(self, shapes, kinds):
        self.count = len(shapes)
        self.shapes = ((ctypes.c_int64 * 8) * 8)(*((ctypes.c_int64 * 8)(*shape) for shape in shapes))
        self.ranks = (ctypes.c_int * 8)(*map(len, shapes))
        self.kinds = (ctypes.c_int * 8)(*kinds)


@pytest.fixture
def plan(plugins):
    """Shapes and types of the outputs, and the workspace, of an operator."""
    lib = ctypes.CDLL(str(plugins))
    lib.drive_plan.restype = ctypes.c_int64

    def plan(name, fields, *shapes):
        kinds = [KINDS[kind][0] for kind in BY_NAME[name].inputs]
        given, wanted = Described(shapes, kinds), Described([], [])
        arguments = (*_fields(name, fields), given.count, given.shapes, given.ranks, given.kinds)
        workspace = lib.drive_plan(*arguments, wanted.ranks, wanted.shapes, wanted.kinds)
        outputs = range(len(BY_NAME[name].outputs))
        found = [tuple(wanted.shapes[i][: wanted.ranks[i]]) for i in outputs]
        return found, [DTYPES[wanted.kinds[i]] for i in outputs], workspace

    return plan


def _fields(name, fields):
    names = [field.name for field in BY_NAME[name].fields]
    values = [fields.get(field.name, field.default) for field in BY_NAME[name].fields]
    encoded = (ctypes.c_char_p * 4)(*(n.encode() for n in names))
    return name.encode(), len(names), encoded, (ctypes.c_float * 4)(*values)


@pytest.mark.parametrize("vertices_per_pixel", [0.1, 0.5, 0.0625, 6.0])
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 3, 40, 50), (2, 3, 100, 101), (1, 3, 1024, 2048)])
def test_plans_are_those_of_the_python_plugins(plan, shape, vertices_per_pixel):
    """An engine that one of the two built is one that the other can run."""
    fields = {"spatial_sigma": 80.0, "color_sigma": 13.0, "vertices_per_pixel": vertices_per_pixel, "sigma": 3.0}
    fields["vertices_per_pixel"] = float(np.float32(vertices_per_pixel))
    extents = tensorrt_operators.Extents()
    n, _, height, width = shape
    lattice, filtered = BY_NAME["BilateralLattice"], (n, 11, height, width)
    shapes = {
        "BilateralLattice": [shape],
        "BilateralFilter": [filtered, *map(tuple, lattice.shapes(extents, fields, shape)[:3])],
        "SpatialFilter": [filtered],
        "MeanFieldUpdate": [filtered] * 3 + [(11, 11)] * 2,
    }
    for operator in OPERATORS:
        given = shapes[operator.name]
        expected = [tuple(s) for s in operator.shapes(extents, fields, *given)]
        found, kinds, workspace = plan(operator.name, fields, *given)
        assert found == expected, operator.name
        assert kinds == [KINDS[kind][1] for kind in operator.outputs]
        assert workspace == operator.workspace(given, expected, fields)


@pytest.fixture
def run(plugins, plan, emulated, monkeypatch):
    """Enqueues a plugin on arrays, with the CUDA kernels running on the CPU."""
    lib = ctypes.CDLL(str(plugins))
    monkeypatch.setattr(library, "library", lambda: emulated[0])

    def run(name, fields, *inputs):
        shapes, kinds, bytes_ = plan(name, fields, *(x.shape for x in inputs))
        outputs = [np.full(s, 99, k) for s, k in zip(shapes, kinds, strict=True)]
        workspace = np.full(max(1, bytes_), 255, np.uint8)
        sides = []
        for arrays in (inputs, outputs):
            ids = [0 if x.dtype == np.float32 else 3 for x in arrays]
            d = Described([x.shape for x in arrays], ids)
            sides += [d.count, d.shapes, d.ranks, d.kinds]
        pointers = [(ctypes.c_void_p * 8)(*(x.ctypes.data for x in arrays)) for arrays in (inputs, outputs)]
        assert lib.drive_enqueue(*_fields(name, fields), *sides, *pointers, ctypes.c_void_p(workspace.ctypes.data)) == 0
        return outputs

    return run


def test_one_iteration_is_that_of_the_cpu_library(run, photo):
    check_one_iteration(run, photo)


def test_a_lattice_that_does_not_fit_gives_no_numbers(run):
    noise = np.random.default_rng(0).integers(0, 256, (1, 3, 200, 200)).astype(np.float32)
    fields = {"spatial_sigma": 3.0, "color_sigma": 3.0, "vertices_per_pixel": 0.1}
    vertex, weight, neighbor, status = run("BilateralLattice", fields, noise)
    assert (status[1], neighbor.shape[2]) == (OVERFLOW, 16384)
    values = np.ones((1, 2, 200, 200), np.float32)
    (message,) = run("BilateralFilter", {}, values, vertex, weight, neighbor)
    assert np.isnan(message).all()
