"""The TensorRT plugins: in TensorRT's own registry, against its real classes, and on the emulated CUDA kernels."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from segtool.crf import library, native, tensorrt_operators, tensorrt_plugin
from segtool.crf.library import OVERFLOW
from segtool.crf.tensorrt_operators import OPERATORS, lattice_capacity
from segtool.data import open_dataset

from ..tensorrt_api import module_of
from .one_iteration import check_one_iteration

BY_NAME = {operator.name: operator for operator in OPERATORS}


def test_plugins_in_the_registry_of_the_lean_runtime():
    if importlib.util.find_spec("tensorrt_lean") is None:
        pytest.skip("the wheel tensorrt-lean-cu13 is for Linux on x86-64")
    command = [sys.executable, "-m", "tests.crf.tensorrt_registry"]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "registered, made, cloned, kept", result.stderr


class Expressions:
    """TensorRT's expression builder on plain integers."""

    def __init__(self, trt):
        d = trt.DimensionOperation
        self._operations = {
            d.PROD: lambda a, b: a * b,
            d.MIN: min,
            d.MAX: max,
            d.CEIL_DIV: lambda a, b: -(-a // b),
        }

    def constant(self, value):
        return value

    def operation(self, operation, a, b):
        return self._operations[operation](a, b)


@pytest.fixture(scope="module")
def trt(tensorrt_bindings):
    return module_of(tensorrt_bindings, "tensorrt_on_integers", DimsExprs=list)


@pytest.mark.parametrize(
    ("shape", "capacity"),
    [((1, 3, 1, 1), 6), ((1, 3, 40, 50), 12000), ((2, 3, 100, 101), 32768), ((1, 3, 1024, 2048), 1048576)],
)
def test_shapes_as_tensorrt_asks_for_them(trt, shape, capacity):
    plugin = tensorrt_plugin.plugin_class(trt, BY_NAME["BilateralLattice"])({"vertices_per_pixel": 0.5})
    pixels = shape[0] * shape[2] * shape[3]
    got = plugin.get_output_shapes([list(shape)], [], Expressions(trt))
    assert got == [[pixels, 6], [pixels, 6], [6, 2, capacity], [2]]
    assert lattice_capacity(pixels, shape[0], 0.5) == capacity
    for name in ("BilateralFilter", "SpatialFilter", "MeanFieldUpdate"):
        other = tensorrt_plugin.plugin_class(trt, BY_NAME[name])({})
        assert other.get_output_shapes([[1, 7, 5, 4], [20, 6]], [], Expressions(trt)) == [[1, 7, 5, 4]]


@pytest.mark.parametrize("widths", [(10.0, 8.0), (20.0, 8.0), (40.0, 8.0), (10.0, 16.0), (40.0, 13.0), (80.0, 13.0)])
def test_photographs_have_room(widths):
    """Whoever does not say how much gets enough for pictures as cameras take them, and for the built-in ones."""
    noise = np.random.default_rng(0).normal(0, 15, (427, 640, 3))
    street = load_sample_image("china.jpg")
    pictures = [street, load_sample_image("flower.jpg"), np.clip(street + noise, 0, 255)]
    pictures.append(open_dataset("synthetic:192", "val").load(0).image)
    room = tensorrt_operators.usual_vertices_per_pixel(*widths)
    for picture in pictures:
        image = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)
        vertices = native.bilateral_lattice(image, *widths).neighbor.shape[2]
        assert vertices < room * picture.shape[0] * picture.shape[1]
    assert room < 6
    assert room < 1 or widths[0] < 80


@pytest.mark.parametrize("operator", OPERATORS, ids=BY_NAME)
def test_formats_and_types(trt, operator):
    """Each tensor in its own type, and linear."""
    plugin = tensorrt_plugin.plugin_class(trt, operator)({})
    kinds = [getattr(trt.DataType, name) for name in operator.inputs + operator.outputs]

    def described(position, kind, form):
        descs = [SimpleNamespace(desc=SimpleNamespace(type=k, format=trt.TensorFormat.LINEAR)) for k in kinds]
        descs[position] = SimpleNamespace(desc=SimpleNamespace(type=kind, format=form))
        return descs

    for position, kind in enumerate(kinds):
        ask = plugin.supports_format_combination
        assert ask(position, described(position, kind, trt.TensorFormat.LINEAR), len(operator.inputs))
        assert not ask(position, described(position, kind, trt.TensorFormat.CHW4), len(operator.inputs))
        assert not ask(position, described(position, trt.DataType.HALF, trt.TensorFormat.LINEAR), len(operator.inputs))


@pytest.fixture
def run(trt, emulated, monkeypatch):
    """Enqueues a plugin on arrays, with the CUDA kernels running on the CPU."""
    monkeypatch.setattr(library, "library", lambda: emulated[0])

    def run(name, fields, *inputs):
        operator = BY_NAME[name]
        plugin = tensorrt_plugin.plugin_class(trt, operator)(fields)
        shapes = plugin.get_output_shapes([list(x.shape) for x in inputs], [], Expressions(trt))
        kinds = {"FLOAT": np.float32, "INT32": np.int32}
        outputs = [np.full(s, 99, kinds[k]) for s, k in zip(shapes, operator.outputs, strict=True)]
        descs = [[SimpleNamespace(dims=x.shape, max=x.shape) for x in side] for side in (inputs, outputs)]
        workspace = np.full(max(1, plugin.get_workspace_size(*descs)), 255, np.uint8)
        addresses = [[x.ctypes.data for x in side] for side in (inputs, outputs)]
        plugin.enqueue(*descs, *addresses, workspace.ctypes.data, 0)
        return outputs

    return run


def test_enqueue_gives_what_the_cpu_library_gives(run, photo):
    check_one_iteration(run, photo)


def test_a_lattice_that_does_not_fit_gives_no_numbers(run, monkeypatch):
    """More vertices than the capacity: the status says so, and what is filtered is NaN, not a picture."""
    monkeypatch.setattr(tensorrt_operators, "SMALLEST_CAPACITY", 16)
    noise = np.random.default_rng(0).integers(0, 256, (1, 3, 30, 30)).astype(np.float32)
    fields = {"spatial_sigma": 3.0, "color_sigma": 3.0, "vertices_per_pixel": 0.1}
    vertex, weight, neighbor, status = run("BilateralLattice", fields, noise)
    assert status[1] == OVERFLOW
    assert neighbor.shape[2] == 90
    assert vertex.max() <= 90
    values = np.ones((1, 2, 30, 30), np.float32)
    (message,) = run("BilateralFilter", {"reverse": 0}, values, vertex, weight, neighbor, status)
    assert np.isnan(message).all()
