"""A model for five bands of 16 bits."""

from pathlib import Path

import pytest
import torch

from segtool.crf.layer import DenseCRF, KernelWidths
from segtool.data import open_dataset
from segtool.export.onnx_export import export_onnx
from segtool.train.checkpoint import make_card, save_checkpoint
from segtool.train.config.presets import load_config
from segtool.train.networks import Segmenter
from segtool.train.networks.network import build_network
from segtool.train.predict import image_tensor
from segtool.train.stages.splits import check_splits, open_splits

from .files import five_bands, folder_of_bands

SETTINGS = ["model.source=segtool", "model.architecture=UNet", "model.weights=null"]
SETTINGS.append("model.options={width: 4}")


def _make(folder: Path) -> None:
    """An untrained network with a CRF that matters, saved as training does, and exported with logits."""
    spec = folder_of_bands(folder / "data", five_bands, nodata=0)
    config = load_config(
        "quickstart", [*SETTINGS, "model.options={width: 4}", "data.shown=[3,2,1]", "crf.bands=[4,5,1]"]
    )
    contract = check_splits(*open_splits(spec, config), config, None).contract.model_copy(update={"stride": 16})
    dataset = open_dataset(spec, "train")
    torch.manual_seed(0)
    network = build_network(config.model, len(dataset.classes), contract.channels).eval()
    image = image_tensor(dataset.load(0).image, torch.device("cpu"))
    _spread_out(Segmenter(network, contract), network.segmentation_head, image)
    crf = DenseCRF(len(dataset.classes), KernelWidths(1.5, 12.0, 15.0), (0.5, 2.0), iterations=5)
    segmenter = Segmenter(network, contract, crf).eval()
    card = make_card(config, segmenter, dataset.classes, 255, dataset.record())
    save_checkpoint(folder / "model.safetensors", segmenter, card)
    export_onnx(folder / "model.safetensors", folder / "model.onnx", logits=True)


@torch.no_grad()
def _spread_out(segmenter: Segmenter, head: torch.nn.Conv2d, image: torch.Tensor) -> None:
    """Changes the last layer so that all classes win somewhere."""
    logits = segmenter.eval().unary(image)
    scale = 1.5 / logits.std((0, 2, 3))
    head.weight *= scale[:, None, None, None]
    head.bias.copy_(scale * (head.bias - logits.mean((0, 2, 3))))


@pytest.fixture(scope="session")
def bands_run(once) -> Path:
    """A folder with data/, model.safetensors and model.onnx."""
    return once("bands", _make)
