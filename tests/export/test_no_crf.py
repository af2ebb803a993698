"""The network of a run alone, for engines that cannot run the CRF."""

import json
import shutil

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from segtool.cli import cli
from segtool.drawing import save_image
from segtool.errors import SegtoolError
from segtool.export.comparison import Case
from segtool.export.verify import verify
from segtool.runtime import load

from .test_verify import convolutions, tampered

pytestmark = pytest.mark.slow  # they trace the network anew, which takes half a minute


@pytest.fixture(scope="module")
def network(tiny_run, tmp_path_factory):
    """Where the command writes it when not told."""
    run = shutil.copytree(tiny_run, tmp_path_factory.mktemp("run") / "tiny")
    result = CliRunner().invoke(cli, ["export", str(run), "--no-crf"])
    assert result.exit_code == 0, result.output
    assert "no CRF" in result.output
    return run / "model.no-crf.onnx"


def test_its_labels_are_the_networks(network, tiny_onnx, photo):
    got, whole = load(network)(photo), load(tiny_onnx)(photo)
    np.testing.assert_array_equal(got.labels, whole.unary_labels)
    assert (whole.labels != whole.unary_labels).any(), "the CRF does nothing here"
    assert got.unary_labels is None


def test_nothing_of_the_crf_is_left(network, tiny_onnx):
    model, card = onnx.load(network), load(network).card
    assert not model.functions
    assert {o.domain for o in model.opset_import} == {""}
    assert card.crf is None
    assert load(tiny_onnx).card.crf is not None
    assert card.validation.after_crf is None


def test_verify_compares_it_with_the_network(network, tiny_run, tmp_path, photo):
    records = verify(tiny_run, network, [Case(photo)])
    assert all(record.passed for record in records)
    name = convolutions(network)[3]
    wrong = tampered(network, tmp_path / "m.onnx", name, lambda w: np.roll(w, 1) + 0.1)
    for record in verify(tiny_run, wrong, [Case(photo)]):
        assert not record.passed
        assert record.culprit.startswith(f"first at {name} ")


def test_a_run_without_a_crf_does_not_pass_for_one_with(tiny_run, tiny_onnx, photo):
    with pytest.raises(SegtoolError, match="exported from another model"):
        verify(tiny_run / "unary" / "best.safetensors", tiny_onnx, [Case(photo)])


def test_commands_take_it(network, tiny_run, tmp_path, photo):
    save_image(tmp_path / "photo.png", photo)
    run = CliRunner().invoke
    commands = (
        ["eval", str(network), "--data", "synthetic:64", "--out", str(tmp_path / "eval"), "--pictures", "2"],
        ["predict", str(network), str(tmp_path / "photo.png"), "--out", str(tmp_path / "masks")],
        ["bench", str(network), "--runs", "1", "--size", "64x64"],
        ["verify", str(tiny_run), str(network), "--limit", "2", "--out", str(tmp_path / "parity.json")],
    )
    for command in commands:
        result = run(cli, command)
        assert result.exit_code == 0, f"{command[0]}: {result.output} {result.exception}"
    assert "after_crf" not in json.loads((tmp_path / "eval" / "summary.json").read_text())
    assert "note:" not in result.output


def test_verify_warns_of_engines_without_long_integers(tiny_run, tiny_onnx, tmp_path):
    model = shutil.copy(tiny_onnx, tmp_path / "model.onnx")  # its card changes, and other tests compare files
    command = ["verify", str(tiny_run), str(model), "--limit", "1", "--out", str(tmp_path / "parity.json")]
    result = CliRunner().invoke(cli, command)
    assert "such as OpenVINO, give other labels and no error" in result.output
    assert "--no-crf" in result.output


def test_iterations_of_nothing_are_refused(tiny_run):
    result = CliRunner().invoke(cli, ["export", str(tiny_run), "--no-crf", "--iterations", "3"])
    assert "--iterations is of the CRF, which --no-crf leaves out" in str(result.exception)
