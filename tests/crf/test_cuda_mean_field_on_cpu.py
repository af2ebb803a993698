"""The CUDA kernels of the spatial filter and of the mean field on the CPU; see test_cuda_on_cpu."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from segtool.crf import library, native, plain
from segtool.errors import SegtoolError

from .cuda_cases import CASES, STREAM, noise


def native_spatial(values, sigma):
    n, channels, height, width = values.shape
    out = np.empty_like(values)
    native.spatial_filter_pointers(values.ctypes.data, (n * channels, height, width, 1), sigma, out.ctypes.data)
    return out


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
    image, logits, tables = noise(1, 3, 9, 9), torch.rand(1, 4, 9, 9), (torch.eye(4), torch.eye(4))
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
    image, values = noise(2, 3, 25, 31).numpy(), np.random.default_rng(0).random((2, 6, 25, 31), dtype=np.float32)
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
