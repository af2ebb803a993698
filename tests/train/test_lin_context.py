"""The preset that follows the paper of the contextual CRF."""

import numpy as np
import pytest
import torch

from segtool.train.checkpoint import load_segmenter
from segtool.train.config.presets import load_config
from segtool.train.networks.featmap import FeatMapNet
from segtool.train.stages.piecewise import PiecewiseTrainer

from ..data.layouts import write_voc


@pytest.mark.slow
def test_lin_context(tmp_path):
    """VGG at three scales; unary, context and dense CRF, without the network's classes being weighted."""
    write_voc(tmp_path, scale=8)
    settings = [
        "model.encoder=vgg11_bn", "model.weights=null", "model.options={channels: 16, features: 32}",
        "data.crop=[64, 64]",
        "data.batch_size=2", "unary.epochs=1", "context.epochs=1", "context.radii=[1, 2]", "crf.epochs=1",
        "crf.crop=[48, 48]", "crf.search_images=1", "crf.bilateral_alpha=[15.0]", "crf.bilateral_beta=[13.0]",
        "crf.weight=[[0.5, 1.0]]", "crf.spatial_gamma=[2.0]", "report.write=false",
    ]  # fmt: skip
    config = load_config("lin-context", settings)
    run = PiecewiseTrainer(config, f"voc:{tmp_path}", tmp_path / "run", config.stages, report=lambda line: None)
    run.run()
    assert list(run.state.done) == ["unary", "context", "crf"]
    segmenter, card = load_segmenter(tmp_path / "run")
    assert (card.architecture, card.encoder) == ("FeatMapNet", "vgg11_bn")
    assert (card.context.stride, card.context.features, card.context.feature_stride) == (8, 32, 8)
    assert segmenter.crf is not None


def test_one_encoder_sees_all_scales():
    torch.manual_seed(0)
    network = FeatMapNet(3, "resnet18", channels=8, features=16).eval()
    seen = []
    network.encoder.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[2:]))
    with torch.no_grad():
        logits = network(torch.rand(1, 3, 160, 320))
    assert logits.shape == (1, 3, 160, 320)
    assert [tuple(shape) for shape in seen] == [(192, 384), (128, 256), (64, 128)]
    assert np.isfinite(logits.numpy()).all()
    assert network.mix[0].in_channels == 3 * 8 * 3  # scales, channels, and the map with two windows
