"""Shapes and values at the edge, on every face of the operator: they agree, and what cannot be is refused."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from segtool.card import CrfCard
from segtool.crf import library, native, operators, plain
from segtool.crf.reference import exact_filter
from segtool.errors import SegtoolError
from segtool.export.bodies import function_bodies

WIDE, NARROW = (20.0, 8.0), (1.0, 4.0)


def _session(sigmas, with_library):
    eye = [[1.0]]
    card = CrfCard(
        spatial_gamma=1.0, bilateral_alpha=sigmas[0], bilateral_beta=sigmas[1], iterations=1, unary_scale=[1.0],
        spatial_compatibility=eye, bilateral_compatibility=eye,
    )  # fmt: skip
    lattice = ["vertex", "weight", "neighbor"]
    attributes = {"spatial_sigma": sigmas[0], "color_sigma": sigmas[1]}
    nodes = [
        helper.make_node("BilateralLattice", ["image"], lattice, domain="segtool", **attributes),
        helper.make_node("BilateralFilter", ["values", *lattice], ["filtered"], domain="segtool", reverse=0),
    ]
    names = ("image", "values", "filtered")
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in names]
    graph = helper.make_graph(nodes, "edge", tensors[:2], tensors[2:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("segtool", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=function_bodies(card), ir_version=10)
    options = ort.SessionOptions()
    if with_library:
        options.register_custom_ops_library(str(library.library_path()))
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _torch_face(face):
    def run(image, values, sigmas):
        lattice = face.bilateral_lattice(torch.from_numpy(image), *sigmas)
        return face.bilateral_filter(torch.from_numpy(values), *lattice).numpy()

    return run


@pytest.fixture(scope="module")
def faces():
    """Every face as a function of image, values and sigmas."""
    sessions = {(s, lib): _session(s, lib) for s in (WIDE, NARROW) for lib in (True, False)}

    def in_onnxruntime(with_library):
        def run(image, values, sigmas):
            return sessions[sigmas, with_library].run(None, {"image": image, "values": values})[0]

        return run

    return {
        "native": lambda image, values, sigmas: native.bilateral_filter(
            values, native.bilateral_lattice(image, *sigmas)
        ),
        "torch operators": _torch_face(operators),
        "ONNX Runtime with the library": in_onnxruntime(True),
        "ONNX Runtime with function bodies": in_onnxruntime(False),
    }


def _noise(*shape):
    return np.random.default_rng(5).integers(0, 256, shape).astype(np.float32)


CASES = {
    "1x1": (_noise(1, 3, 1, 1), 4, WIDE),
    "1xN": (_noise(1, 3, 1, 33), 4, WIDE),
    "Nx1": (_noise(1, 3, 33, 1), 4, WIDE),
    "constant": (np.full((1, 3, 31, 45), 77, np.float32), 4, WIDE),
    "black": (np.zeros((1, 3, 9, 7), np.float32), 4, WIDE),
    "one channel": (_noise(1, 3, 20, 21), 1, WIDE),
    "255 channels": (_noise(1, 3, 11, 13), 255, WIDE),
    "batch of different images": (_noise(4, 3, 17, 19), 3, WIDE),
    "every pixel its own vertices": (_noise(1, 3, 13, 15), 3, NARROW),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_all_faces_agree(faces, case):
    image, channels, sigmas = case
    values = np.random.default_rng(6).normal(size=(len(image), channels, *image.shape[2:])).astype(np.float32)
    expected = _torch_face(plain)(image, values, sigmas)
    assert np.isfinite(expected).all()
    for name, face in faces.items():
        got = face(image, values, sigmas)
        assert got.shape == values.shape, name
        assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected), name


def test_own_vertices_are_six_for_each_pixel():
    image, _, sigmas = CASES["every pixel its own vertices"]
    assert native.bilateral_lattice(image, *sigmas).neighbor.shape[2] == 6 * image.shape[2] * image.shape[3]


def test_alone_in_the_image_a_pixel_keeps_its_value(faces):
    image, _, sigmas = CASES["1x1"]
    values = np.array([[[[3.0]], [[-5.0]]]], np.float32)
    exact = exact_filter(torch.from_numpy(values[0]), torch.from_numpy(image[0]), *sigmas).numpy()
    np.testing.assert_allclose(exact, values[0])
    for name, face in faces.items():
        np.testing.assert_allclose(face(image, values, sigmas)[0], exact, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_stay_so_and_do_no_harm(faces, bad):
    image, channels, sigmas = CASES["one channel"]
    values = np.random.default_rng(6).random((1, channels, 20, 21), dtype=np.float32)
    values[0, 0, 4, 5] = bad
    for name, face in faces.items():
        assert not np.isfinite(face(image, values, sigmas)[0, 0, 4, 5]), name
        assert np.isfinite(face(image, np.ones_like(values), sigmas)).all(), name


def test_a_batch_too_large_for_32_bit_indices_is_refused():
    with pytest.raises(SegtoolError, match="pixels in a batch"):
        native.build_lattice(0, (2**20, 2**20, 2**30), 1.0, 1.0, 0, 0, lambda count: 0)


@pytest.mark.parametrize("dtype", [TensorProto.DOUBLE, TensorProto.UINT8])
def test_another_type_is_refused_when_the_file_is_loaded(dtype):
    image = helper.make_tensor_value_info("image", dtype, [1, 3, None, None])
    outputs = [helper.make_tensor_value_info("weight", TensorProto.FLOAT, [None, 6])]
    node = helper.make_node(
        "BilateralLattice", ["image"], ["v", "weight", "n"], domain="segtool", spatial_sigma=2.0, color_sigma=2.0
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("segtool", 1)]
    model = helper.make_model(helper.make_graph([node], "g", [image], outputs), opset_imports=opsets, ir_version=10)
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(library.library_path()))
    with pytest.raises(Exception, match="(?i)type"):
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def test_concurrent_runs_of_one_session(faces):
    from concurrent.futures import ThreadPoolExecutor

    image, values = _noise(2, 3, 40, 50), np.random.default_rng(0).random((2, 7, 40, 50), dtype=np.float32)
    run = faces["ONNX Runtime with the library"]
    expected = run(image, values, WIDE)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: run(image, values, WIDE), range(32)):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
def test_4096_by_4096(photo):
    side = 4096
    repeats = (1, 1, side // photo.shape[0] + 1, side // photo.shape[1] + 1)
    image = np.tile(photo.transpose(2, 0, 1)[None].astype(np.float32), repeats)[:, :, :side, :side].copy()
    values = np.ones((1, 1, side, side), np.float32)
    lattice = native.bilateral_lattice(image, 40.0, 13.0)
    filtered = native.bilateral_filter(values, lattice)
    # Ten standard deviations from its edges a part is filtered as the whole is.
    part = np.ascontiguousarray(image[:, :, :1024, :1024])
    expected = native.bilateral_filter(values[:, :, :1024, :1024].copy(), native.bilateral_lattice(part, 40.0, 13.0))
    np.testing.assert_allclose(filtered[:, :, :512, :512], expected[:, :, :512, :512], rtol=1e-3)
