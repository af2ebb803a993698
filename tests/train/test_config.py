"""Presets, overrides, and what is said of unknown names."""

import pytest
from click.testing import CliRunner

from segtool.cli import cli
from segtool.errors import SegtoolError
from segtool.train.config.presets import load_config, preset_names
from segtool.train.config.stages import parse_stages


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid(name):
    assert load_config(name, []).unary.epochs > 0


def test_help_names_every_preset():
    help_text = CliRunner().invoke(cli, ["train", "--help"]).output
    assert all(name in help_text for name in preset_names())


def test_override():
    config = load_config("quickstart", ["unary.epochs=3", "model.options={}", "crf.spatial_gamma=[1, 2]"])
    assert config.unary.epochs == 3
    assert config.model.options == {}
    assert config.crf.spatial_gamma == [1.0, 2.0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["unary.epoch=3"], "did you mean unary.epochs"),
        (["unari.epochs=3"], "did you mean unary.epochs"),
        (["seed"], "key=value"),
        (["unary.epochs=many"], "unary.epochs"),
        (["data.batch_size=0"], "batch_size"),
        (["seed=-5"], "seed: Input should be greater than or equal to 0"),
        (["data.crop=[0, 64]"], "data.crop.0: Input should be greater than 0"),
        (["data.scale=[2, 1]"], "scale must rise"),
        (["data.scale=[0, 1]"], "data.scale.0"),
        (["crf.spatial_gamma=[]"], "crf.spatial_gamma: List should have at least 1 item"),
        (["crf.bilateral_beta=[0]"], "crf.bilateral_beta.0"),
        (["data.crop=256"], r"data\.crop: .*--set data\.crop=256 .such as data\.crop='\[192, 256\]'"),
        (["data.crop=[256]"], r"such as data\.crop='\[192, 256\]'"),
        (["crf.weight=3"], r"such as crf\.weight='\[\[0\.5, 1\.0\], \[1\.0, 2\.0\]\]'"),
        (["unary.epochs=["], r"not valid YAML \(while parsing .*\): --set unary.epochs="),
    ],
)
def test_bad_override(overrides, message):
    with pytest.raises(SegtoolError, match=message):
        load_config("quickstart", overrides)


def test_unknown_preset_suggests_the_near_one():
    with pytest.raises(SegtoolError, match="did you mean quickstart"):
        load_config("quickstar", [])


def test_preset_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("unary: {epochs: 1, learning_rate: 0.1}\ncrf: {epochs: 1, learning_rate: 0.1}\n")
    with pytest.raises(SegtoolError, match="joint"):
        load_config(str(path), [])
    with pytest.raises(SegtoolError, match="cannot read the preset"):
        load_config(str(tmp_path / "none.yaml"), [])
    for text, message in ((b"[", "not valid YAML"), (b"", "configuration: Input should be"), (b"\xff", "not text")):
        path.write_bytes(text)
        with pytest.raises(SegtoolError, match=message):
            load_config(str(path), [])


def test_stages():
    assert parse_stages("crf,unary") == ["unary", "crf"]
    with pytest.raises(SegtoolError, match="did you mean joint"):
        parse_stages("unary,joins")
