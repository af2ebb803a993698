"""The contextual CRF in exported files: standard operators, the labels of PyTorch, in both precisions."""

import numpy as np
import onnx
import pytest
import torch

from segtool.card import METADATA_KEY, ClassInfo, ContextCard, TrainedOn, parse_card, without_crf
from segtool.crf.contextual.coarse import ring_offsets
from segtool.crf.contextual.layer import ContextualCRF
from segtool.crf.layer import DenseCRF, KernelWidths
from segtool.export.onnx_export import Calibration, export_onnx
from segtool.input_contract import InputContract
from segtool.runtime import load
from segtool.runtime.stages import stage_shares
from segtool.train.checkpoint import load_segmenter, make_card, save_checkpoint
from segtool.train.config.presets import load_config
from segtool.train.networks import Segmenter
from segtool.train.networks.network import build_network
from segtool.train.predict import TorchPredictor

from .real_build import built

pytestmark = pytest.mark.slow
CLASSES = [ClassInfo(id=i, name=name, color=(0, 0, i)) for i, name in enumerate("abcde")]
SHAPES = ((1, 97, 131), (2, 120, 90), (1, 33, 200))


def checkpoint(folder, dense=True, reads_logits=False):
    """An untrained network whose CRFs have weights that matter, saved as training does."""
    torch.manual_seed(0)
    config = load_config("quickstart", [])
    classes = len(CLASSES)
    card = ContextCard(
        stride=8, features=classes if reads_logits else 32, feature_stride=1 if reads_logits else 4,
        reads_logits=reads_logits, offsets=ring_offsets([1, 3, 6]), hidden=16, tables=4, iterations=3, temperature=1.5,
    )  # fmt: skip
    context = ContextualCRF(classes, card)
    for layer in (context.potential.first, context.potential.second, context.potential.strength):
        torch.nn.init.normal_(layer.weight, std=0.5)
    crf = DenseCRF(classes, KernelWidths(1.5, 20.0, 10.0), (0.5, 1.0), iterations=3) if dense else None
    network = build_network(config.model, classes)
    segmenter = Segmenter(network, InputContract(), crf, context).eval()
    about = TrainedOn(dataset="none", split="train", image_count=0, fingerprint="")
    save_checkpoint(folder / "m.safetensors", segmenter, make_card(config, segmenter, CLASSES, 255, about))
    return folder / "m.safetensors"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("context")
    run = checkpoint(folder)
    export_onnx(run, folder / "m.onnx")
    return run, folder / "m.onnx"


def assert_same(run, model, agreement=0.9999, **options):
    segmenter, _ = load_segmenter(run)
    deployed = load(model, **options)
    if deployed.card.crf is None:
        segmenter.crf = None
    predictor, random = TorchPredictor(segmenter), np.random.default_rng(1)
    moved = 0.0
    for n, height, width in SHAPES:
        images = list(random.integers(0, 256, (n, height, width, 3), dtype=np.uint8))
        for image, got in zip(images, deployed.batch(images), strict=True):
            expected = predictor(image)
            moved = max(moved, float((expected.unary_labels != expected.labels).mean()))
            for name in ("labels", "unary_labels", "context_labels"):
                mine, theirs = getattr(got, name), getattr(expected, name)
                assert (mine is None) == (theirs is None), name
                assert mine is None or (mine == theirs).mean() >= agreement, name
    assert moved > 0.05  # the CRFs do something


def test_labels_are_pytorchs_at_odd_sizes_and_in_batches(exported):
    assert_same(*exported)
    assert_same(*exported, native=False)


def test_the_contextual_part_is_standard_operators(exported):
    model = onnx.load(exported[1])
    nodes = [node for node in model.graph.node if node.name.startswith("context/")]
    assert len(nodes) > 50
    assert {node.domain for node in nodes} == {""}
    assert {node.domain for node in model.graph.node} == {"", "segtool"}
    assert any(node.name.startswith("context/potential/mix/") for node in nodes)
    properties = {p.key: p.value for p in model.metadata_props}
    assert parse_card(properties[METADATA_KEY], "m").context == load_segmenter(exported[0])[1].context


def test_time_is_told_apart(exported):
    shares = stage_shares(exported[1], np.zeros((1, 97, 131, 3), np.uint8), runs=2)
    assert shares["context"] > 0.02
    assert shares["crf"] > 0.02


def test_without_the_dense_crf_the_contextual_one_stays(exported, tmp_path):
    card = export_onnx(exported[0], tmp_path / "m.onnx", crf=False)
    assert card.crf is None
    assert {node.domain for node in onnx.load(tmp_path / "m.onnx").graph.node} == {""}
    assert_same(exported[0], tmp_path / "m.onnx")
    # TensorRT-RTX's parser and builder take all of it; of the dense CRF they would need the plugins.
    assert built(tmp_path / "m.onnx", tmp_path)["outputs"].keys() == {"labels", "confidence", "unary_labels"}


def test_a_network_without_a_head_is_exported_by_its_logits(tmp_path):
    run = checkpoint(tmp_path, dense=False, reads_logits=True)
    export_onnx(run, tmp_path / "m.onnx")
    assert_same(run, tmp_path / "m.onnx")


def test_half_precision_has_half_convolutions_and_the_same_labels(exported, tmp_path):
    export_onnx(exported[0], tmp_path / "h.onnx", fp16=True)
    assert_same(exported[0], tmp_path / "h.onnx", agreement=0.99)
    model = onnx.load(tmp_path / "h.onnx")
    kinds = {value.name: value.data_type for value in model.graph.initializer}
    mixed = [kinds[name] for name in kinds if "context.potential.mix.weight" in name or "potential.mix" in name]
    assert onnx.TensorProto.FLOAT not in mixed


def test_eight_bits_take_features_too(exported, tmp_path):
    images = [np.random.default_rng(i).integers(0, 256, (96, 128, 3), dtype=np.uint8) for i in range(4)]
    card = export_onnx(exported[0], tmp_path / "q.onnx", int8=Calibration(images, "cpu"))
    assert card.precision == "int8"
    nodes = onnx.load(tmp_path / "q.onnx").graph.node
    assert any(n.op_type == "QuantizeLinear" for n in nodes)
    assert not any(n.op_type == "QuantizeLinear" for n in nodes if n.name.startswith("context/"))
    assert_same(exported[0], tmp_path / "q.onnx", agreement=0.5)


def test_a_card_without_a_dense_crf_stays_as_it_is(exported):
    card = load_segmenter(exported[0])[1].model_copy(update={"crf": None})
    assert without_crf(card) == card
