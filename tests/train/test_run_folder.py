"""What a run folder refuses, and what of it cannot be read."""

import json
import shutil

import pytest
import torch

from segtool.errors import SegtoolError
from segtool.train.checkpoint import load_segmenter
from segtool.train.checkpoint_file import read_card

from .small_run import trainer


def test_second_run_into_the_same_folder_is_refused(tiny_run):
    with pytest.raises(SegtoolError, match="already holds a run"):
        trainer(tiny_run)


def test_a_folder_with_files_that_a_run_would_overwrite_is_refused(tiny_run, tmp_path):
    for written in {path.name for path in tiny_run.iterdir()} - {"state.json", "model.onnx"}:
        out = tmp_path / written / "project"
        out.mkdir(parents=True)
        (out / written).write_text("mine")
        with pytest.raises(SegtoolError, match=f"holds no run, but {written}, which a run would overwrite"):
            trainer(out)
        assert (out / written).read_text() == "mine"


def test_resume_with_other_settings_is_refused(tiny_run):
    with pytest.raises(SegtoolError, match="other settings"):
        trainer(tiny_run, "seed=5", resume=True)


def test_a_run_of_a_version_that_trained_otherwise_is_refused(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "old")
    state = json.loads((tmp_path / "old" / "state.json").read_text())
    del state["format"]
    (tmp_path / "old" / "state.json").write_text(json.dumps(state))
    with pytest.raises(SegtoolError, match=r"begun by another version of segtool.*--from one of its checkpoints"):
        trainer(tmp_path / "old", resume=True)


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SegtoolError, match="cannot write to the folder"):
        trainer(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.encoder=resnet81", "did you mean resnet18"),
        ("model.architecture=Unett", "did you mean Unet"),
        ("model.options={bananas: 1}", "bananas"),
    ],
)
def test_unknown_network_is_refused_before_anything_is_written(tmp_path, override, message):
    with pytest.raises(SegtoolError, match=message):
        trainer(tmp_path / "run", override)
    assert not (tmp_path / "run").exists()


def test_checkpoint_without_card(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(SegtoolError, match="no segtool model card"):
        load_segmenter(tmp_path / "other.safetensors")


def test_checkpoint_with_a_newer_schema(tiny_run, tmp_path):
    from safetensors.torch import load_file, save_file

    from segtool.card import METADATA_KEY

    card = json.loads(read_card(tiny_run / "model.safetensors").to_json())
    card["schema_version"] = 5
    path = tmp_path / "new.safetensors"
    save_file(load_file(tiny_run / "model.safetensors"), path, metadata={METADATA_KEY: json.dumps(card)})
    with pytest.raises(SegtoolError, match="schema version 5 is not known.*upgrade"):
        load_segmenter(path)


@pytest.mark.parametrize("place", [(), ("input",), ("config", "model")], ids=lambda place: ".".join(place) or "top")
def test_a_card_of_another_version_is_one_line(tiny_run, tmp_path, place):
    from safetensors.torch import load_file, save_file

    from segtool.card import METADATA_KEY

    card = json.loads(read_card(tiny_run / "model.safetensors").to_json())
    node = card
    for name in place:
        node = node[name]
    node["novelty"] = 1
    path = tmp_path / "new.safetensors"
    save_file(load_file(tiny_run / "model.safetensors"), path, metadata={METADATA_KEY: json.dumps(card)})
    with pytest.raises(SegtoolError, match=r"model card has a field that .* not know, .*novelty: .*upgrade") as caught:
        load_segmenter(path)
    assert "\n" not in str(caught.value)


def test_damaged_checkpoint(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(SegtoolError, match="not a readable checkpoint"):
        load_segmenter(tmp_path / "bad.safetensors")


def test_unfinished_run_folder(tmp_path):
    with pytest.raises(SegtoolError, match="no finished model"):
        load_segmenter(tmp_path)
