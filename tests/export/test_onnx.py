"""The exported file: portable bodies and native kernels give what PyTorch gives."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper

from segtool.card import METADATA_KEY, CrfCard, parse_card
from segtool.cli import cli
from segtool.crf import library, plain
from segtool.drawing import save_image
from segtool.errors import SegtoolError
from segtool.export.bodies import function_bodies, portable_side
from segtool.export.comparison import Case
from segtool.export.onnx_export import export_onnx
from segtool.export.verify import verify
from segtool.images import read_image
from segtool.runtime import load
from segtool.train.checkpoint import load_segmenter, save_checkpoint
from segtool.train.predict import TorchPredictor

ALPHA, BETA = 20.0, 8.0


@pytest.fixture(scope="module")
def operator_model(tmp_path_factory):
    """An ONNX file that holds nothing but the two operators."""
    eye = [[1.0]]
    card = CrfCard(
        spatial_gamma=1.0, bilateral_alpha=ALPHA, bilateral_beta=BETA, iterations=1, unary_scale=[1.0],
        spatial_compatibility=eye, bilateral_compatibility=eye,
    )  # fmt: skip
    plugin = {"plugin_namespace": "segtool", "plugin_version": "1", "domain": "segtool"}
    lattice = ["vertex", "weight", "neighbor"]
    nodes = [
        helper.make_node("BilateralLattice", ["image"], lattice, spatial_sigma=ALPHA, color_sigma=BETA, **plugin),
        helper.make_node("BilateralFilter", ["values", *lattice], ["filtered"], reverse=0, **plugin),
    ]
    info = helper.make_tensor_value_info
    inputs = [info(n, TensorProto.FLOAT, ["n", c, "h", "w"]) for n, c in (("image", 3), ("values", "c"))]
    outputs = [
        info("vertex", TensorProto.INT32, ["p", 6]),
        info("weight", TensorProto.FLOAT, ["p", 6]),
        info("neighbor", TensorProto.INT32, [6, 2, "m"]),
        info("filtered", TensorProto.FLOAT, ["n", "c", "h", "w"]),
    ]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("segtool", 1)]
    graph = helper.make_graph(nodes, "operators", inputs, outputs)
    model = helper.make_model(graph, opset_imports=opsets, functions=function_bodies(card), ir_version=10)
    onnx.checker.check_model(model)
    path = tmp_path_factory.mktemp("onnx") / "operators.onnx"
    onnx.save(model, path)
    return path


def _session(path, with_library):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if with_library:
        options.register_custom_ops_library(str(library.library_path()))
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (24, 37), (97, 131)])
@pytest.mark.parametrize("with_library", [True, False], ids=["native", "bodies"])
def test_operators_in_onnx_runtime(operator_model, photo, shape, with_library):
    random = np.random.default_rng(0)
    image = photo[: shape[0], : shape[1]].transpose(2, 0, 1)[None].astype(np.float32)
    image = np.concatenate([image, 255 - image])
    values = random.random((2, 5, *shape), dtype=np.float32)
    session = _session(operator_model, with_library)
    vertex, weight, neighbor, filtered = session.run(None, {"image": image, "values": values})
    lattice = plain.bilateral_lattice(torch.from_numpy(image), ALPHA, BETA)
    expected = plain.bilateral_filter(torch.from_numpy(values), *lattice).numpy()
    assert np.linalg.norm(filtered - expected) <= 1e-5 * np.linalg.norm(expected)
    assert neighbor.shape == tuple(lattice[2].shape)
    if not with_library:  # the body numbers vertices as the plain lattice does
        np.testing.assert_array_equal(vertex, lattice[0])
        np.testing.assert_array_equal(neighbor, lattice[2])
    np.testing.assert_allclose(weight, lattice[1], rtol=1e-5, atol=1e-7)


def test_portable_body_is_deterministic(operator_model, photo):
    """Additions to repeated indices must not get lost in ONNX Runtime's threads."""
    image = photo.transpose(2, 0, 1)[None].astype(np.float32)
    values = np.random.default_rng(0).random((1, 5, *photo.shape[:2]), dtype=np.float32)
    session = _session(operator_model, False)
    runs = [session.run(["filtered"], {"image": image, "values": values})[0] for _ in range(10)]
    for run in runs[1:]:
        np.testing.assert_array_equal(run, runs[0])


def test_a_kernel_error_reaches_the_caller(operator_model):
    session = _session(operator_model, True)
    image = np.full((1, 3, 4, 4), np.nan, np.float32)
    with pytest.raises(Exception, match="levels must be finite"):
        session.run(None, {"image": image, "values": np.zeros((1, 2, 4, 4), np.float32)})
    with pytest.raises(Exception, match="3 channels|Got invalid dimensions"):
        session.run(None, {"image": image[:, :2], "values": np.zeros((1, 2, 4, 4), np.float32)})


def test_kernels_too_narrow_for_a_portable_body_are_refused():
    assert portable_side(20.0, 8.0) == 16384
    with pytest.raises(SegtoolError, match="too narrow"):
        portable_side(0.01, 0.01)


@pytest.mark.parametrize("shape", [(64, 64), (1, 1), (45, 70), (97, 131)])
def test_exported_model_gives_pytorchs_answer(tiny_run, tiny_onnx, photo, shape):
    image = photo[: shape[0], : shape[1]].copy()
    segmenter, _ = load_segmenter(tiny_run)
    expected = TorchPredictor(segmenter)(image)
    for with_library in (True, False):
        got = load(tiny_onnx, native=with_library)(image)
        assert got.labels.dtype == np.uint8
        assert (got.labels == expected.labels).mean() >= 0.9999
        assert (got.unary_labels == expected.unary_labels).mean() >= 0.9999
        np.testing.assert_allclose(got.probabilities, expected.probabilities, atol=1e-3)
        np.testing.assert_allclose(got.confidence, got.probabilities.max(0), atol=1e-6)


def test_batches(tiny_onnx, photo):
    model = load(tiny_onnx)
    images = np.stack([photo[:50, :60], photo[20:70, 30:90]])
    together = [one.labels for one in model.batch(list(images))]
    for image, labels in zip(images, together, strict=True):
        np.testing.assert_array_equal(model(image.copy()).labels, labels)


def test_file_carries_card_and_bodies_and_no_source_paths(tiny_run, tiny_onnx):
    model = onnx.load(tiny_onnx)
    onnx.checker.check_model(model)
    props = {p.key: p.value for p in model.metadata_props}
    assert parse_card(props[METADATA_KEY], "x").names[0] == "ground"
    assert {f.name for f in model.functions} == {
        "BilateralLattice",
        "BilateralFilter",
        "SpatialFilter",
        "MeanFieldUpdate",
    }
    assert {o.domain for o in model.opset_import} == {"", "segtool"}
    assert b".py" not in model.graph.SerializeToString()
    filters = [n for n in model.graph.node if n.op_type == "BilateralFilter"]
    assert len(filters) == load_segmenter(tiny_run)[1].crf.iterations


def _everywhere(nodes):
    """Nodes, and those of their branches."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from _everywhere(attribute.g.node)


def test_older_runtimes_and_other_tools_can_read_it(tiny_onnx):
    """ONNX Runtime before 1.22 wants names in functions, 1.17 wants IR version 8; tools want tensors as constants."""
    model = onnx.load(tiny_onnx)
    assert model.ir_version == 8
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        names = [node.name for node in _everywhere(nodes)]
        assert all(names)
        assert len(set(names)) == len(names)
        for node in _everywhere(nodes):
            if node.op_type == "Constant":  # one may be the function's attribute
                assert node.attribute[0].name == "value" or node.attribute[0].ref_attr_name


@pytest.mark.parametrize("iterations", [0, -1, 20_000])
def test_iterations_that_no_card_may_have(tiny_run, tmp_path, iterations):
    with pytest.raises(SegtoolError, match="the CRF can have 1 to 10000 iterations"):
        export_onnx(tiny_run, tmp_path / "m.onnx", iterations=iterations)
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_fixed_size_and_iterations(tiny_run, tmp_path, photo):
    out = tmp_path / "fixed.onnx"
    card = export_onnx(tiny_run, out, size=(48, 64), iterations=2)
    assert card.crf.iterations == 2
    model = load(out)
    assert model(photo[:48, :64].copy()).labels.shape == (48, 64)
    with pytest.raises(SegtoolError, match="exported for height 48"):
        model(photo[:50, :64].copy())
    truth = np.zeros(photo.shape[:2], np.uint8)
    for record in verify(tiny_run, out, [Case(photo, truth), Case(photo[:48, :64].copy())]):
        assert record.passed
        assert record.shapes == ["1x48x64", "2x48x64"]
    image = tmp_path / "photo.png"
    save_image(image, photo[:, :40])  # narrower than a tile
    predict = ["predict", str(out), str(image), "--out", str(tmp_path / "masks")]
    refused = str(CliRunner().invoke(cli, predict).exception)
    assert f"exported for height 48: {image}: image of {len(photo)}" in refused
    assert "(resize the image, or use tiles: --tile 48x64)" in refused
    tiled = CliRunner().invoke(cli, [*predict, "--tile", "48x64"])
    assert tiled.exit_code == 0, tiled.exception
    assert read_image(tmp_path / "masks" / "photo.png").shape == (97, 40, 3)
    bench = CliRunner().invoke(cli, ["bench", str(out), "--runs", "1"])
    assert "1x48x64, 1 runs" in bench.output


def test_parity_passes_and_a_foreign_checkpoint_fails(tiny_run, tiny_onnx, tmp_path, photo):
    images = [photo[:48, :64].copy(), photo[40:90, 50:120].copy()]
    records = verify(tiny_run, tiny_onnx, map(Case, images))
    assert [r.passed for r in records] == [True, True]
    assert all(r.label_agreement >= 0.9999 and r.max_abs_dp <= 1e-3 for r in records)
    segmenter, card = load_segmenter(tiny_run)
    with torch.no_grad():
        next(p for p in segmenter.network.parameters() if p.ndim == 4).mul_(1.5)
    save_checkpoint(tmp_path / "other.safetensors", segmenter, card)
    other = verify(tmp_path / "other.safetensors", tiny_onnx, map(Case, images))
    assert not any(r.passed for r in other), "another model's weights must not pass"


def test_verify_without_images(tiny_run, tiny_onnx):
    with pytest.raises(SegtoolError, match="no images"):
        verify(tiny_run, tiny_onnx, [])
