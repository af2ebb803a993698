"""--from: stages that start from a file."""

import pytest
import torch

from segtool.errors import SegtoolError, SegtoolWarning
from segtool.train.checkpoint import load_segmenter, model_config
from segtool.train.config.presets import load_config
from segtool.train.networks.network import build_network
from segtool.train.stages.piecewise import PiecewiseTrainer

from ..conftest import TINY


def run(out, start, *overrides, stages=("crf",), data="synthetic:64"):
    config = load_config("quickstart", [*TINY, *overrides])
    trainer = PiecewiseTrainer(config, data, out, list(stages), start=start, report=lambda line: None)
    trainer.run()
    return load_segmenter(out)


def same_network(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.slow
def test_crf_on_a_plain_state_dict_of_smp(tmp_path):
    """What somebody has who trained with segmentation-models-pytorch alone."""
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=5)
    torch.save(theirs.state_dict(), tmp_path / "unet.pth")
    model = "model={architecture: Unet, encoder: resnet18, weights: null}"
    segmenter, card = run(tmp_path / "run", tmp_path / "unet.pth", model)
    assert same_network(segmenter.network, theirs)
    assert card.crf is not None
    assert card.validation.after_crf is not None


def test_state_dict_of_another_network_is_refused_before_anything_is_written(tmp_path):
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(SegtoolError, match=r"do not fit the network.*choose the model\.\*"):
        run(tmp_path / "run", tmp_path / "other.pth")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_crf_on_a_checkpoint_whatever_the_preset_says(tiny_run, tmp_path):
    start = tiny_run / "unary" / "best.safetensors"
    segmenter, card = run(tmp_path / "run", start, "model={architecture: Unet, encoder: resnet18, weights: null}")
    assert same_network(segmenter.network, load_segmenter(start)[0].network)
    assert (card.architecture, card.encoder) == ("FPN", "tu-mobilenetv3_small_050")


def test_weights_of_a_checkpoint_with_a_crf_are_its_network_s(tiny_run):
    segmenter, card = load_segmenter(tiny_run)
    assert segmenter.crf is not None
    weights = str(tiny_run / "model.safetensors")
    network = build_network(model_config(card).model_copy(update={"weights": weights}), 5)
    assert same_network(network, segmenter.network)


@pytest.mark.slow
def test_joint_on_a_finished_run(tiny_run, tmp_path):
    """It trains from there, whether or not that made it better."""
    _, card = run(tmp_path / "run", tiny_run, stages=("joint",))
    assert card.crf is not None
    end = torch.load(tmp_path / "run" / "joint" / "last.ckpt", weights_only=False)["state_dict"]
    start = load_segmenter(tiny_run)[0]
    assert any(not torch.equal(value, end[f"segmenter.{name}"]) for name, value in start.named_parameters())


def test_joint_needs_a_crf(tiny_run, tmp_path):
    with pytest.raises(SegtoolError, match="there is no CRF to start stage joint from"):
        run(tmp_path / "run", tiny_run / "unary" / "best.safetensors", stages=("joint",))


def test_other_classes_are_refused(tiny_run, tmp_path, photo):
    from ..data.layouts import write_folder

    write_folder(tmp_path / "data", photo)
    with pytest.raises(SegtoolError, match=r"the checkpoint has the classes .* the data dark, light"):
        run(tmp_path / "run", tiny_run, data=f"folder:{tmp_path / 'data'}")


def test_a_head_for_other_classes_is_trained_anew_in_stage_unary(tiny_run, tmp_path, photo):
    from ..data.layouts import write_folder

    write_folder(tmp_path / "data", photo)
    torch.save(load_segmenter(tiny_run)[0].network.state_dict(), tmp_path / "five.pth")
    settings = ["unary.learning_rate=1e-12", "unary.epochs=1"]
    theirs = load_segmenter(tiny_run)[0].network
    for start in (tiny_run, tmp_path / "five.pth"):
        data, out = f"folder:{tmp_path / 'data'}", tmp_path / f"run {start.name}"
        with pytest.warns(SegtoolWarning, match="weights are for 5 classes, the data have 2; the head starts fresh"):
            segmenter, card = run(out, start, *settings, stages=("unary",), data=data)
        assert card.names == ["dark", "light"]
        for name, value in segmenter.network.named_parameters():
            if value.shape[0] != 2:
                torch.testing.assert_close(value.detach(), theirs.get_parameter(name), rtol=0, atol=1e-6)
    with pytest.raises(SegtoolError, match="weights are for 5 classes, the data have 2: .*--stages unary,crf,joint"):
        run(tmp_path / "crf", tmp_path / "five.pth", stages=("crf",), data=data)


def test_missing_file(tmp_path):
    with pytest.raises(SegtoolError, match="no such file"):
        run(tmp_path / "run", tmp_path / "none.pth")


def test_unary_goes_on_from_a_checkpoint(tiny_run, tmp_path):
    start = tiny_run / "unary" / "best.safetensors"
    segmenter, _ = run(tmp_path / "run", start, "unary.learning_rate=1e-12", "unary.epochs=1", stages=("unary",))
    before = load_segmenter(start)[0].network.state_dict()
    for name, value in segmenter.network.named_parameters():
        torch.testing.assert_close(value.detach(), before[name], rtol=0, atol=1e-6)
