"""Models that are too large for one file."""

import numpy as np
import onnx
import pytest

from segtool.export import save
from segtool.export.bisect import first_difference
from segtool.export.save import save_onnx
from segtool.export.verify import store_parity
from segtool.runtime import load


@pytest.fixture
def apart(tiny_onnx, tmp_path, monkeypatch):
    """The tiny model as if it were too large: file and weights apart."""
    monkeypatch.setattr(save, "LARGEST_FILE", 100_000)
    written = save_onnx(onnx.load(tiny_onnx), tmp_path / "big.onnx")
    assert [p.name for p in written] == ["big.onnx", "big.onnx.data"]
    return written[0]


def test_weights_lie_beside_and_the_model_is_the_same(apart, tiny_onnx, photo):
    assert {p.name for p in apart.parent.iterdir()} == {"big.onnx", "big.onnx.data"}
    # The graph and the function bodies are what is left.
    assert apart.stat().st_size < 0.5 * tiny_onnx.stat().st_size
    np.testing.assert_array_equal(load(apart)(photo).labels, load(tiny_onnx)(photo).labels)


def test_card_and_comparison_work_on_it(apart, tiny_run, photo):
    before = apart.with_name("big.onnx.data").read_bytes()
    store_parity(apart, [])
    assert apart.with_name("big.onnx.data").read_bytes() == before
    assert load(apart).card.parity == []
    assert first_difference(tiny_run, apart, photo, "float32", native=True).node == "output"


def test_a_model_that_fits_is_one_file(tiny_onnx, tmp_path):
    assert save_onnx(onnx.load(tiny_onnx), tmp_path / "one.onnx") == [tmp_path / "one.onnx"]


def test_an_invalid_model_leaves_the_old_file(tiny_onnx, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(tiny_onnx.read_bytes())
    model = onnx.load(tiny_onnx)
    model.graph.node[3].output[0] = model.graph.node[2].output[0]
    with pytest.raises(onnx.checker.ValidationError):
        save_onnx(model, path)
    assert path.read_bytes() == tiny_onnx.read_bytes()
    assert list(tmp_path.iterdir()) == [path]
