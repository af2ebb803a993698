"""The state that a stage goes on from is whole, whatever happens while it is written."""

import os
import resource
import warnings
import zipfile

import numpy as np
import pytest
import torch

from segtool.errors import SegtoolError, SegtoolWarning
from segtool.train.config.settings import StageConfig
from segtool.train.optimizers import build_optimizer, build_schedule
from segtool.train.run_folder import LAST, PREVIOUS
from segtool.train.stages import training_state
from segtool.train.stages.training_state import WholeFile, resume_from


def state(epoch):
    return {"epoch": epoch, "weights": torch.full((1000, 100), float(epoch))}


def read(path):
    return torch.load(path, weights_only=True)["epoch"]


@pytest.fixture
def written(tmp_path):
    """A folder with the states after the first and the second epoch."""
    for epoch in (1, 2):
        WholeFile().save_checkpoint(state(epoch), tmp_path / LAST)
    return tmp_path


def test_the_one_before_is_kept(written):
    assert (read(written / LAST), read(written / PREVIOUS)) == (2, 1)
    assert sorted(path.name for path in written.iterdir()) == [LAST, PREVIOUS]


def test_tmpdir_is_not_used(written, monkeypatch):
    """It may lie on another file system, from which nothing can be renamed."""
    monkeypatch.setattr("tempfile.mkstemp", lambda *_, **__: pytest.fail("a file elsewhere"))
    monkeypatch.setattr("shutil.move", lambda *_, **__: pytest.fail("copied"))
    WholeFile().save_checkpoint(state(3), written / LAST)
    assert (read(written / LAST), read(written / PREVIOUS)) == (3, 2)


def test_a_full_disk_harms_neither(written):
    """The limit on the size of files stands for it: the system refuses to write on, as there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(SegtoolError, match="cannot write: .*another --out"):
            WholeFile().save_checkpoint(state(3), written / LAST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (read(written / LAST), read(written / PREVIOUS)) == (2, 1)
    assert len(list(written.iterdir())) == 2


@pytest.mark.parametrize("place", ["before the first rename", "between the two"])
def test_a_kill_leaves_one(written, monkeypatch, place):
    """The process is gone from one system call to the next."""

    class Killed(BaseException):
        pass

    def replace(source, target):
        if place == "between the two" and os.path.basename(target) == PREVIOUS:
            return real(source, target)
        raise Killed

    real = os.replace
    monkeypatch.setattr(training_state.os, "replace", replace)
    with pytest.raises(Killed):
        WholeFile().save_checkpoint(state(3), written / LAST)
    monkeypatch.undo()
    assert read(resume_from(written)) == 2


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "text"])
def test_a_damaged_file_gives_way_to_the_one_before(written, damage):
    last = written / LAST
    content = bytearray(last.read_bytes())
    with zipfile.ZipFile(last) as parts:
        weights = next(part for part in parts.infolist() if part.file_size >= 400_000)
    content[weights.header_offset + 1000] ^= 1
    damaged = {"cut": content[:-100], "bit": content, "empty": b"", "text": b"<html>"}
    last.write_bytes(damaged[damage])
    with pytest.warns(SegtoolWarning, match=r"last\.ckpt; going on from the epoch before"):
        assert read(resume_from(written)) == 1
    for place in range(len(content) - 700, len(content), 7):  # in the directory of the parts
        directory = bytearray((written / PREVIOUS).read_bytes())
        directory[place - len(content)] ^= 4
        last.write_bytes(directory)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert resume_from(written) is not None
    (written / PREVIOUS).write_bytes(b"")
    last.write_bytes(b"")
    with pytest.raises(SegtoolError, match="damaged, and there is no other"):
        resume_from(written)


def test_nothing_to_go_on_from(tmp_path):
    assert resume_from(tmp_path) is None


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "poly", "step", "plateau", "constant"])
def test_states_of_all_optimizers_and_schedules_can_be_read(tmp_path, optimizer, schedule):
    config = StageConfig(epochs=3, optimizer=optimizer, schedule=schedule, learning_rate=0.1)
    parameter = torch.nn.Parameter(torch.zeros(3))
    made = build_optimizer(config, [{"params": [parameter], "lr": 0.1}])
    scheduler = build_schedule(config, made, 9)
    parameter.grad = torch.ones(3)
    made.step()
    if scheduler is not None:
        # The mIoU that a plateau looks at is a number of numpy's.
        scheduler["scheduler"].step(*([np.float64(0.5)] if schedule == "plateau" else []))
    content = {
        "pytorch-lightning_version": "2",
        "state_dict": {"w": parameter.detach()},
        "loops": {},
        "optimizer_states": [made.state_dict()],
        "lr_schedulers": [] if scheduler is None else [scheduler["scheduler"].state_dict()],
    }
    WholeFile().save_checkpoint(content, tmp_path / LAST)
    found = WholeFile().load_checkpoint(tmp_path / LAST)
    assert found["lr_schedulers"] == content["lr_schedulers"]
    torch.testing.assert_close(found["optimizer_states"], content["optimizer_states"])


class Attack:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


def test_no_code_in_a_state_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Attack(), "loops": {}, "pytorch-lightning_version": "2"}, LAST)
    assert resume_from(tmp_path) is not None, "it is whole"
    with pytest.raises(SegtoolError, match=r"not readable as a state of training .*mkdir"):
        WholeFile().load_checkpoint(LAST)
    assert not (tmp_path / "attacked").exists()


def test_what_is_no_state_is_one_line(tmp_path):
    torch.save({"weights": torch.zeros(1)}, tmp_path / LAST)
    with pytest.raises(SegtoolError, match=r"not a state of training: .*last\.ckpt"):
        WholeFile().load_checkpoint(tmp_path / LAST)
