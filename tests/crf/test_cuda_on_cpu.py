"""The CUDA kernels on the CPU, thread after thread in scrambled orders: their source, and what nvcc makes of it.

It proves their logic against the CPU library on machines without a GPU. Tests marked `gpu` run the real thing.
"""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from segtool.crf import cuda as entries
from segtool.crf import library, native, plain
from segtool.errors import SegtoolError

STREAM = 0


@pytest.fixture(params=["emulated", pytest.param("emulated_ptx", marks=pytest.mark.slow)], ids=["source", "PTX"])
def on_cpu(request):
    """The library with the CUDA entries running on the CPU, and its path."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[1, 77])
def cuda(on_cpu, monkeypatch, request):
    """`segtool.crf.cuda`, with such a library under it."""
    lib, _ = on_cpu
    lib.segtool_cuda_on_cpu_order(request.param)
    monkeypatch.setattr(library, "library", lambda: lib)
    return entries


def native_spatial(values, sigma):
    n, channels, height, width = values.shape
    out = np.empty_like(values)
    native.spatial_filter_pointers(values.ctypes.data, (n * channels, height, width, 1), sigma, out.ctypes.data)
    return out


def _noise(*shape):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).float()


IMAGES = {
    "one pixel": (_noise(1, 3, 1, 1), 20.0, 8.0),
    "one row": (_noise(1, 3, 1, 40), 20.0, 8.0),
    "flat": (torch.full((1, 3, 24, 37), 200.0), 80.0, 13.0),
    "noise": (_noise(1, 3, 25, 31), 20.0, 20.0),
    "narrow: own vertices": (_noise(1, 3, 9, 9), 0.05, 0.5),
    "batch": (_noise(3, 3, 20, 21), 20.0, 40.0),
}
CASES = pytest.mark.parametrize("case", IMAGES.values(), ids=IMAGES.keys())


@CASES
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_same_filter_as_on_the_cpu(cuda, case, deterministic, layout):
    image, alpha, beta = case
    values = torch.randn(image.shape[0], 5, *image.shape[2:]).contiguous(memory_format=layout)
    vertex, weight, neighbor, status = cuda.build_lattice(image, alpha, beta, STREAM)
    expected_lattice = native.bilateral_lattice(image.numpy(), alpha, beta)
    assert status.tolist() == [expected_lattice.neighbor.shape[2], 0]
    assert neighbor.shape == expected_lattice.neighbor.shape
    np.testing.assert_allclose(weight, expected_lattice.weight, rtol=1e-5, atol=1e-7)
    for reverse in (False, True):
        lattice = (vertex, weight, neighbor)
        got = cuda.filter_values(values, lattice, STREAM, reverse=reverse, deterministic=deterministic)
        assert got.stride() == values.stride()
        expected = native.bilateral_filter(values.contiguous().numpy(), expected_lattice, reverse)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("deterministic", [False, True])
def test_room_to_spare_changes_nothing(cuda, monkeypatch, deterministic):
    # Whatever lies in memory that is not used: nobody may look at it.
    monkeypatch.setattr(cuda, "_workspace", lambda size, device: torch.full((size,), 0xFF, dtype=torch.uint8))
    image, alpha, beta = IMAGES["batch"]
    values = torch.rand(3, 4, 20, 21)
    options = {"reverse": False, "deterministic": deterministic}
    tight = cuda.filter_values(values, cuda.build_lattice(image, alpha, beta, STREAM)[:3], STREAM, **options)
    *lattice, status = cuda.build_lattice(image, alpha, beta, STREAM, capacity=5000)
    assert lattice[2].shape == (6, 2, 5000)
    assert status.tolist() == [int(lattice[0].max() + 1), 0]
    for told in (None, status):
        roomy = cuda.filter_values(values, lattice, STREAM, **options, status=told)
        torch.testing.assert_close(roomy, tight, rtol=1e-5, atol=1e-6)


def test_overflow_is_told_and_stays_in_bounds(cuda):
    image, alpha, beta = IMAGES["noise"]
    *lattice, status = cuda.build_lattice(image, alpha, beta, STREAM, capacity=10)
    assert status[1] == library.OVERFLOW
    assert all(int(index.min()) >= 0 and int(index.max()) <= 10 for index in (lattice[0], lattice[2]))


@pytest.mark.parametrize("level", [float("nan"), float("inf"), -1.0, 255.5])
def test_levels_out_of_range_are_refused(cuda, level):
    image = _noise(1, 3, 8, 9)
    image[0, 1, 3, 4] = level
    with pytest.raises(SegtoolError, match=r"within 0\.\.255"):
        cuda.build_lattice(image, 10.0, 10.0, STREAM)
    assert cuda.build_lattice(image, 10.0, 10.0, STREAM, capacity=1000)[3][1] == library.BAD_LEVEL


@pytest.mark.parametrize(
    ("sigmas", "capacity", "message"),
    [((0.0, 1.0), None, "positive"), ((1e-9, 1.0), None, "too small"), ((1.0, 1.0), 2**30, "capacity")],
)
def test_bad_arguments_are_refused(cuda, sigmas, capacity, message):
    image = _noise(1, 3, 8, 9)
    if capacity:  # no such workspace can be had, and none is touched
        with pytest.raises(SegtoolError, match=message):
            library.cuda_call("segtool_cuda_lattice_insert", 0, 1, 8, 9, *sigmas, capacity, 0, 0, 0, 0, 0)
    else:
        with pytest.raises(SegtoolError, match=message):
            cuda.build_lattice(image, *sigmas, STREAM)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 40])  # rows of a lattice have whole fours from 3 on
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("deterministic", [False, True])
def test_filter_of_any_number_of_channels(cuda, channels, layout, deterministic):
    image, alpha, beta = IMAGES["noise"]
    values = torch.randn(1, channels, 25, 31).contiguous(memory_format=layout)
    lattice = cuda.build_lattice(image, alpha, beta, STREAM)[:3]
    got = cuda.filter_values(values, lattice, STREAM, reverse=False, deterministic=deterministic)
    expected_lattice = native.bilateral_lattice(image.numpy(), alpha, beta)
    expected = native.bilateral_filter(values.contiguous().numpy(), expected_lattice)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_memory_out_of_line_is_refused(cuda, monkeypatch):
    image, alpha, beta = IMAGES["noise"]
    vertex, weight, neighbor, _ = cuda.build_lattice(image, alpha, beta, STREAM)
    aside = torch.cat([torch.zeros(1), weight.reshape(-1)])[1:].reshape(weight.shape)
    values, options = torch.rand(1, 1, 25, 31), {"reverse": False, "deterministic": False}
    with pytest.raises(SegtoolError, match="vertex and weight must be aligned to 8 bytes"):
        cuda.filter_values(values, (vertex, aside, neighbor), STREAM, **options)
    monkeypatch.setattr(cuda, "_workspace", lambda size, device: torch.empty(size + 8, dtype=torch.uint8)[8:])
    with pytest.raises(SegtoolError, match="workspace must be aligned to 16 bytes"):
        cuda.filter_values(values, (vertex, weight, neighbor), STREAM, **options)


def test_a_lattice_too_large_for_its_indices_is_refused(cuda):
    sizes = (1, 150, 10**6, 30 * 10**6)  # n, channels, pixels, capacity
    with pytest.raises(SegtoolError, match=r"more than 2\^32 values"):
        library.cuda_call("segtool_cuda_filter", 0, 0, 0, 0, 0, *sizes, 0, 0, 0, 0, 0, 0)


def test_more_channels_than_a_block_takes_are_refused(cuda):
    values = [torch.rand(1, 1024, 1, 2)] * 3
    with pytest.raises(SegtoolError, match="at most 1023 channels"):
        cuda.mean_field_update([*values, *[torch.eye(1024)] * 2], True, STREAM)


def test_deterministic_sums_do_not_depend_on_the_order(cuda, on_cpu):
    image, alpha, beta = IMAGES["noise"]
    values = 1e6 * torch.randn(1, 3, 25, 31)
    lattice = cuda.build_lattice(image, alpha, beta, STREAM)[:3]
    results = []
    for order in (1, 5, 12345):
        on_cpu[0].segtool_cuda_on_cpu_order(order)
        results.append(cuda.filter_values(values, lattice, STREAM, reverse=False, deterministic=True))
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_never_becomes_a_number(cuda, bad):
    image, alpha, beta = IMAGES["noise"]
    lattice = cuda.build_lattice(image, alpha, beta, STREAM)[:3]
    values = torch.rand(1, 1, 25, 31)
    values[0, 0, 3, 3] = bad
    for deterministic in (False, True):
        out = cuda.filter_values(values, lattice, STREAM, reverse=False, deterministic=deterministic)
        assert not out[0, 0, 3, 3].isfinite()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "shape",
    [
        *[(1, 1, 1, 1), (2, 5, 17, 23), (1, 3, 1, 40), (3, 21, 9, 19)],
        # From 32 and 64 channels on a thread of the update has fewer pixels, from 128 and 256 on a warp has.
        *[(2, 40, 9, 8), (1, 100, 7, 9), (2, 150, 3, 7), (1, 255, 5, 4), (1, 400, 2, 5)],
    ],
    ids=str,
)
def test_spatial_kernel_and_update(cuda, layout, shape):
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(shape, generator=generator).contiguous(memory_format=layout) for _ in range(3)]
    tables = [torch.randn(shape[1], shape[1], generator=generator) / shape[1] ** 0.5 for _ in range(2)]
    for sigma in (0.4, 3.0, 50.0):
        got = cuda.spatial_filter(values[0], sigma, STREAM)
        assert got.stride() == values[0].stride()
        torch.testing.assert_close(got, plain.spatial_filter(values[0], sigma), atol=2e-6, rtol=1e-5)
    for normalize in (True, False):
        got = cuda.mean_field_update([*values, *tables], normalize, STREAM)
        assert got.stride() == values[0].stride()
        expected = plain.mean_field_update(*values, *tables, normalize)
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "sigma"),
    [
        ((1, 3, 25, 200), 3.0),  # several tiles along a row, rows of several planes in one
        ((1, 1, 40, 64), 3.0),  # tiles that just fit
        ((1, 2, 5, 700), 60.0),  # fewer rows for a block
        ((1, 1, 3, 3000), 250.0),
        ((1, 1, 2, 3200), 300.0),  # too wide for a tile
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_spatial_kernels_of_any_width(cuda, layout, shape, sigma):
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    expected = torch.from_numpy(native_spatial(values.contiguous().numpy(), sigma))
    torch.testing.assert_close(cuda.spatial_filter(values, sigma, STREAM), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_a_spatial_sigma_without_meaning_is_refused(cuda, sigma):
    with pytest.raises(SegtoolError, match="positive and finite"):
        cuda.spatial_filter(torch.rand(1, 1, 4, 4), sigma, STREAM)


@CASES
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("iterations", [0, 1, 4])
def test_the_whole_inference_in_one_call(cuda, case, layout, iterations):
    image, alpha, beta = case
    generator = torch.Generator().manual_seed(0)
    shape = (image.shape[0], 9, *image.shape[2:])
    logits = 3 * torch.randn(shape, generator=generator).contiguous(memory_format=layout)
    tables = tuple(torch.randn(9, 9, generator=generator) for _ in range(2))
    widths = (2.0, alpha, beta)
    vertices = native.bilateral_lattice(image.numpy(), alpha, beta).neighbor.shape[2]
    for capacity in (vertices, vertices + 500):
        q, status = cuda.mean_field(logits, image, widths, tables, iterations, STREAM, capacity)
        assert status.tolist() == [vertices, 0]
        assert q.stride() == logits.stride()
        arrays = [np.ascontiguousarray(a) for a in (logits, image)]
        expected = native.mean_field(*arrays, widths, tuple(t.numpy() for t in tables), iterations)
        np.testing.assert_allclose(q, expected, rtol=1e-3, atol=1e-5)
    if iterations:
        q, status = cuda.mean_field(logits, image, widths, tables, iterations, STREAM, max(1, vertices - 1))
        assert status[1] == library.OVERFLOW or vertices == 1
        assert q.isnan().any() or vertices == 1


def test_one_call_refuses_what_its_steps_refuse(cuda):
    image, logits, tables = _noise(1, 3, 9, 9), torch.rand(1, 4, 9, 9), (torch.eye(4), torch.eye(4))
    for widths, iterations, capacity, message in (
        ((0.0, 5.0, 5.0), 2, 100, "positive and finite"),
        ((1.0, 5.0, 0.0), 2, 100, "positive and finite"),
        ((1.0, 5.0, 5.0), -1, 100, "must not be negative"),
        ((1.0, 5.0, 5.0), 2, 0, "capacity"),
    ):
        with pytest.raises(SegtoolError, match=message):
            cuda.mean_field(logits, image, widths, tables, iterations, STREAM, capacity)


def test_onnxruntime_runs_the_cuda_kernels(on_cpu):
    """Registered in the CPU kernels' place: their attributes, shapes, workspace and errors."""
    lattice = ["vertex", "weight", "neighbor"]
    sigmas = {"spatial_sigma": 20.0, "color_sigma": 20.0}
    messages = ["values", "near", "filtered", "table", "table"]
    nodes = [
        helper.make_node("BilateralLattice", ["image"], lattice, domain="segtool", **sigmas),
        helper.make_node("BilateralFilter", ["values", *lattice], ["filtered"], domain="segtool", reverse=0),
        helper.make_node("SpatialFilter", ["values"], ["near"], domain="segtool", sigma=2.0),
        helper.make_node("MeanFieldUpdate", messages, ["q"], domain="segtool", normalize=1),
    ]
    tensors = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * 4) for n in ("image", "values", "q")}
    table = helper.make_tensor_value_info("table", TensorProto.FLOAT, [None] * 2)
    outputs = [helper.make_tensor_value_info("filtered", TensorProto.FLOAT, [None] * 4), tensors["q"]]
    graph = helper.make_graph(nodes, "graph", [tensors["image"], tensors["values"], table], outputs)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("segtool", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(on_cpu[1]))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    image, values = _noise(2, 3, 25, 31).numpy(), np.random.default_rng(0).random((2, 6, 25, 31), dtype=np.float32)
    table = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)
    feeds = {"image": image, "values": values, "table": table}
    filtered, q = session.run(None, feeds)
    expected = native.bilateral_filter(values, native.bilateral_lattice(image, 20.0, 20.0))
    np.testing.assert_allclose(filtered, expected, rtol=1e-4, atol=1e-6)
    values, expected, table = (torch.from_numpy(a) for a in (values, expected, table))
    near = plain.spatial_filter(values, 2.0)
    np.testing.assert_allclose(
        q, plain.mean_field_update(values, near, expected, table, table, True), rtol=1e-4, atol=1e-6
    )
    with pytest.raises(Exception, match=r"within 0\.\.255"):
        session.run(None, feeds | {"image": image + 300})
    with pytest.raises(Exception, match=r"tables \[C,C\]"):
        session.run(None, feeds | {"table": np.zeros((5, 6), np.float32)})
