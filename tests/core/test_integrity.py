"""Digests inside files of weights: whatever bit changes, it is told."""

import hashlib
import random
import shutil
import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save, save_file

from segtool.errors import SegtoolError, SegtoolWarning
from segtool.export.save import save_onnx
from segtool.integrity import DIGEST_KEY, bytes_digest, onnx_is_intact, safetensors_are_intact
from segtool.runtime import load
from segtool.train.checkpoint import load_segmenter
from segtool.train.checkpoint_file import MODEL_FILE


def model(values=4):
    weights = numpy_helper.from_array(np.arange(values, dtype=np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "weights"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [values])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [values])],
        [weights],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    helper.set_model_props(made, {"name": "value"})
    return made


def flipped(path, place, out):
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << place % 8
    out.write_bytes(data)
    return out


def test_every_byte_of_an_onnx_file_counts(tmp_path):
    path = tmp_path / "m.onnx"
    save_onnx(model(), path)
    assert onnx_is_intact(path) is True
    own = len(model().SerializeToString())  # then comes the digest itself
    for place in range(path.stat().st_size):
        found = onnx_is_intact(flipped(path, place, tmp_path / "n.onnx"))
        assert found is False or place >= own, place


def test_the_digest_is_that_of_the_file_without_it(tmp_path):
    path = tmp_path / "m.onnx"
    save_onnx(model(), path)
    (said,) = (pair.value for pair in onnx.load(path).metadata_props if pair.key == DIGEST_KEY)
    assert path.read_bytes()[: len(model().SerializeToString())] == model().SerializeToString()
    assert said == hashlib.sha256(model().SerializeToString()).hexdigest()


def test_a_model_that_is_written_again_has_one_digest(tmp_path):
    save_onnx(model(), tmp_path / "m.onnx")
    save_onnx(onnx.load(tmp_path / "m.onnx"), tmp_path / "n.onnx")
    assert onnx_is_intact(tmp_path / "n.onnx") is True
    assert [p.key for p in onnx.load(tmp_path / "n.onnx").metadata_props] == ["name", DIGEST_KEY]


def test_weights_beside_a_file_count(tmp_path, monkeypatch):
    monkeypatch.setattr("segtool.export.save.LARGEST_FILE", 1000)
    path, weights = save_onnx(model(1000), tmp_path / "m.onnx")
    assert onnx_is_intact(path) is True
    renamed = path.rename(tmp_path / "other.onnx")  # it still names its weights
    assert onnx_is_intact(renamed) is True
    flipped(weights, 99, weights)
    assert onnx_is_intact(renamed) is False
    weights.unlink()
    assert onnx_is_intact(renamed) is False


def test_an_exported_file_that_changed_is_told(tiny_onnx, tmp_path, photo):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tiny_onnx)
    (largest,) = sorted(onnx.load(tiny_onnx).graph.initializer, key=lambda t: len(t.raw_data))[-1:]
    place = tiny_onnx.read_bytes().index(largest.raw_data) + 1001
    changed = flipped(tiny_onnx, place, tmp_path / "m.onnx")
    with pytest.warns(SegtoolWarning, match=r"not as segtool wrote it: .*m\.onnx"):
        load(changed)(photo)


def test_a_checkpoint_whose_weights_changed_is_refused(tiny_run, tmp_path):
    path = tiny_run / MODEL_FILE
    assert safetensors_are_intact(path) is True
    size, chance = path.stat().st_size, random.Random(3)
    for _ in range(5):
        changed = flipped(path, chance.randrange(size - 1_000_000, size), tmp_path / MODEL_FILE)
        assert safetensors_are_intact(changed) is False
        with pytest.raises(SegtoolError, match="the file is damaged"):
            load_segmenter(changed)


def test_every_byte_of_a_safetensors_file_counts(tmp_path):
    tensors = {
        "half": torch.ones(3, dtype=torch.bfloat16),
        "one": torch.tensor(2.0),
        "none": torch.zeros(0, 4),
        "flags": torch.tensor([True, False]),
    }
    path, metadata = tmp_path / "a.safetensors", {"card": '{"iterations": 10}'}
    save_file(tensors, path, metadata)
    assert safetensors_are_intact(path) is None
    digest = bytes_digest(save(tensors, metadata))
    save_file(tensors, path, metadata | {DIGEST_KEY: digest})
    assert safetensors_are_intact(path) is True
    for place in range(path.stat().st_size):
        found = safetensors_are_intact(flipped(path, place, tmp_path / "b.safetensors"))
        # Spaces before the tensors say nothing; without its name the digest is none.
        assert found is not True or path.read_bytes()[place : place + 1] == b" ", place


def test_what_is_no_safetensors_file_is_not_intact(tmp_path):
    (tmp_path / "b.safetensors").write_bytes(b"\xff" * 20)
    assert safetensors_are_intact(tmp_path / "b.safetensors") is False


def test_entries_without_a_value_are_no_damage(tmp_path):
    made = model()
    made.metadata_props.add().key = "empty"
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    assert onnx_is_intact(tmp_path / "m.onnx") is None


def test_files_of_before_have_no_digest_and_open(tiny_run, tmp_path):
    from safetensors import safe_open

    with safe_open(tiny_run / MODEL_FILE, "pt") as file:
        metadata = {key: value for key, value in file.metadata().items() if key != DIGEST_KEY}
    save_file(load_file(tiny_run / MODEL_FILE), tmp_path / MODEL_FILE, metadata)
    load_segmenter(tmp_path / MODEL_FILE)


def test_parity_is_stored_without_hiding_a_change(tiny_run, tiny_onnx, tmp_path):
    from segtool.export.verify import store_parity

    copied = shutil.copy(tiny_onnx, tmp_path / "m.onnx")
    store_parity(copied, [])
    assert onnx_is_intact(copied) is True
    changed = onnx.load(copied)
    changed.doc_string = "changed by another program"
    onnx.save(changed, copied)
    store_parity(copied, [])
    assert onnx_is_intact(copied) is False


def test_parity_keeps_the_digest_of_weights_beside_a_renamed_file(tiny_run, tiny_onnx, tmp_path, monkeypatch):
    from segtool.export.verify import store_parity

    monkeypatch.setattr("segtool.export.save.LARGEST_FILE", 1000)
    path, weights = save_onnx(onnx.load(tiny_onnx), tmp_path / "m.onnx")
    renamed = path.rename(tmp_path / "best.onnx")
    store_parity(renamed, [])
    assert onnx_is_intact(renamed) is True
    flipped(weights, 99, weights)
    assert onnx_is_intact(renamed) is False
