"""Networks of every kind, untrained: the exported file is the network, at sizes that the exporter has not seen."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segtool.card import ClassInfo, TrainedOn
from segtool.errors import SegtoolError
from segtool.export.onnx_export import export_onnx
from segtool.export.pooling import translations
from segtool.export.trace import trace
from segtool.input_contract import InputContract
from segtool.runtime import load
from segtool.train.checkpoint import load_segmenter, make_card, save_checkpoint
from segtool.train.config.presets import load_config
from segtool.train.config.settings import ModelConfig
from segtool.train.networks import Segmenter
from segtool.train.networks.network import build_network
from segtool.train.predict import TorchPredictor
from segtool.user_code import TRUST_VARIABLE

from .real_build import built, refused

CLASSES = [ClassInfo(id=i, name=name, color=(0, 0, i)) for i, name in enumerate("abcde")]


def checkpoint(folder, **model):
    """An untrained network, saved as training does."""
    torch.manual_seed(0)
    config = load_config("quickstart", []).model_copy(update={"model": ModelConfig(weights=None, **model)})
    segmenter = Segmenter(build_network(config.model, len(CLASSES)), InputContract())
    path = folder / "network.safetensors"
    save_checkpoint(
        path,
        segmenter,
        make_card(
            config, segmenter, CLASSES, 255, TrainedOn(dataset="none", split="train", image_count=0, fingerprint="")
        ),
    )
    return path


def assert_same(run, model, *shapes):
    predictor, deployed = TorchPredictor(load_segmenter(run)[0]), load(model)
    for n, height, width in shapes:
        images = list(np.random.default_rng(1).integers(0, 256, (n, height, width, 3), dtype=np.uint8))
        for image, got in zip(images, deployed.batch(images), strict=True):
            expected = predictor(image)
            assert (got.labels == expected.labels).mean() >= 0.9999
            np.testing.assert_allclose(got.confidence, expected.confidence, atol=1e-3)


def smp(architecture, encoder="resnet18", **options):
    return {"architecture": architecture, "encoder": encoder, "options": options}


SMALL_SEGFORMER = {"hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1]}
NETWORKS = {
    "PSPNet": smp("PSPNet"),
    "UPerNet": pytest.param(smp("UPerNet"), marks=pytest.mark.slow),
    "PAN": pytest.param(smp("PAN"), marks=pytest.mark.slow),
    "Unet": pytest.param(smp("Unet", "efficientnet-b0", decoder_attention_type="scse"), marks=pytest.mark.slow),
    "UnetPlusPlus": pytest.param(smp("UnetPlusPlus"), marks=pytest.mark.slow),
    "MAnet": pytest.param(smp("MAnet"), marks=pytest.mark.slow),
    "Linknet": pytest.param(smp("Linknet"), marks=pytest.mark.slow),
    "DeepLabV3": pytest.param(smp("DeepLabV3", "mobilenet_v2"), marks=pytest.mark.slow),
    "DeepLabV3Plus": pytest.param(smp("DeepLabV3Plus", "mobilenet_v2"), marks=pytest.mark.slow),
    "Segformer": pytest.param(smp("Segformer", "mit_b0"), marks=pytest.mark.slow),
    "FeatMapNet": pytest.param(
        {"source": "segtool", "architecture": "FeatMapNet", "encoder": "resnet18"}, marks=pytest.mark.slow
    ),
    "DPT": pytest.param(
        smp("DPT", "tu-vit_tiny_patch16_224.augreg_in21k", dynamic_img_size=True), marks=pytest.mark.slow
    ),
    "segtool UNet": pytest.param({"source": "segtool", "architecture": "UNet"}, marks=pytest.mark.slow),
    "torchvision": pytest.param(
        {"source": "torchvision", "architecture": "lraspp_mobilenet_v3_large"}, marks=pytest.mark.slow
    ),
    "transformers": pytest.param(
        {"source": "transformers", "architecture": "segformer", "options": SMALL_SEGFORMER}, marks=pytest.mark.slow
    ),
}


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS.keys())
def test_file_is_the_network_at_any_size_and_can_be_built(tmp_path, model):
    run = checkpoint(tmp_path, **model)
    export_onnx(run, tmp_path / "m.onnx")
    assert_same(run, tmp_path / "m.onnx", (1, 261, 347), (3, 256, 300), (1, 320, 257))
    if model["architecture"] == "DPT":
        assert "Antialiasing is not supported" in refused(tmp_path / "m.onnx", tmp_path)  # of its position embedding
    else:
        assert built(tmp_path / "m.onnx", tmp_path)["outputs"].keys() == {"labels", "confidence"}


@pytest.mark.slow
def test_mask_queries_have_a_fixed_size(tmp_path):
    options = {"encoder_layers": 1, "decoder_layers": 2, "num_queries": 10, "mask_feature_size": 32, "hidden_dim": 32}
    run = checkpoint(tmp_path, source="transformers", architecture="mask2former", options=options)
    export_onnx(run, tmp_path / "m.onnx", size=(64, 96))
    assert_same(run, tmp_path / "m.onnx", (1, 64, 96), (2, 64, 96))
    assert built(tmp_path / "m.onnx", tmp_path)["outputs"]["labels"] == ["UINT8", [-1, 64, 96]]


@pytest.mark.slow
def test_a_network_for_one_size_is_refused_for_any(tmp_path):
    """MobileViT of transformers writes the number of its patches into the graph."""
    run = checkpoint(tmp_path, source="transformers", architecture="mobilevit")
    (tmp_path / "m.onnx").write_bytes(b"the file before")
    with pytest.raises(SegtoolError, match=r"does not run.*1x283x387.*--size HxW"):
        export_onnx(run, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"the file before"
    export_onnx(run, tmp_path / "m.onnx", size=(64, 96))
    assert_same(run, tmp_path / "m.onnx", (1, 64, 96), (2, 64, 96))
    assert built(tmp_path / "m.onnx", tmp_path)["outputs"]["labels"] == ["UINT8", [-1, 64, 96]]


OWN = {
    "takes one size": (
        "assert x.shape[2:] == (64, 96), 'only 64x96'\n        return self.layer(x)",
        r"no image of 283x387: only 64x96.*--size HxW",
    ),
    "has the example's size in it": (
        "side = int(x.shape[2]) if not torch.compiler.is_exporting() else 384\n"
        "        return self.layer(x) * (side / 384) + torch.arange(5.0).reshape(1, 5, 1, 1) * (side - 384)",
        r"other labels than PyTorch's: 1x283x387.*--size HxW",
    ),
    "decides by its values": (
        "return self.layer(x) if x.mean() > 0 else -self.layer(x)",
        r"torch's exporter cannot write this network: .*--size HxW",
    ),
}


@pytest.mark.parametrize(("forward", "message"), OWN.values(), ids=OWN.keys())
def test_what_cannot_be_exported_is_told_and_nothing_is_written(tmp_path, monkeypatch, forward, message):
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    code = tmp_path / "own.py"
    code.write_text(f"""
import torch

class Net(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, classes, 1)

    def forward(self, x):
        {forward}
""")
    run = checkpoint(tmp_path, source=f"python:{code}:Net")
    with pytest.raises(SegtoolError, match=message):
        export_onnx(run, tmp_path / "m.onnx")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "__pycache__") == ["network.safetensors", "own.py"]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (6, 6)])
def test_adaptive_pooling_is_pytorch_s_at_any_size(size):
    import onnxruntime

    from segtool.export.tidy import tidy

    assert torch.ops.aten._adaptive_avg_pool2d.default in translations()
    pool = torch.nn.AdaptiveAvgPool2d(size)
    dims = {0: torch.export.Dim("N"), 2: torch.export.Dim("H"), 3: torch.export.Dim("W")}
    model = tidy(trace(pool, [torch.zeros(2, 3, 12, 10)], [dims], inputs=["x"], outputs=["y"]))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for shape in ((1, 3, 7, 11), (2, 3, 12, 10), (3, 3, 6, 6), (1, 3, 2, 40)):
        x = torch.rand(shape)
        (got,) = session.run(None, {"x": x.numpy()})
        np.testing.assert_allclose(got, F.adaptive_avg_pool2d(x, size).numpy(), rtol=1e-5)
