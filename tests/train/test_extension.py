"""--resume with more epochs goes on with a run; with other settings it is refused."""

import json

import pytest
import yaml

from segtool.errors import SegtoolError
from segtool.train.config.extension import extended_stages
from segtool.train.config.presets import load_config
from segtool.train.stages.piecewise import PiecewiseTrainer

from ..conftest import TINY

FAST = [*TINY, "data.crop=[32, 32]", "unary.validate_every=1", "unary.gradient_clip=0"]


def config(*overrides):
    return load_config("quickstart", [*FAST, *overrides])


def trainer(out, *overrides, stages=("unary",), resume=False):
    said = []
    found = PiecewiseTrainer(config(*overrides), "synthetic:32", out, [*stages], resume=resume, report=said.append)
    found.prepare()
    return found, said


def rows(out):
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_stage_of_one_step_goes_on(tmp_path):
    """So few have no schedule, whose place in the optimizer is then empty."""
    settings = ["data.batch_size=160", "unary.schedule=one-cycle"]
    trainer(tmp_path / "run", *settings, "unary.epochs=1")[0].run()
    trainer(tmp_path / "run", *settings, "unary.epochs=5", resume=True)[0].run()
    trainer(tmp_path / "whole", *settings, "unary.epochs=5")[0].run()
    found, expected = ([row["learning_rate"] for row in rows(tmp_path / run)] for run in ("run", "whole"))
    assert len(found) == 5
    assert found[1:] == pytest.approx(expected[1:])


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_a_finished_stage_goes_on_under_the_schedule_of_its_new_length(tmp_path, schedule):
    settings = [f"unary.schedule={schedule}"]
    whole, _ = trainer(tmp_path / "whole", *settings, "unary.epochs=4")
    whole.run()
    first, _ = trainer(tmp_path / "run", *settings, "unary.epochs=2")
    first.run()
    longer, said = trainer(tmp_path / "run", *settings, "unary.epochs=4", resume=True)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["unary"]["epochs"] == 4
    longer.run()
    assert any(line.startswith("unary: goes on from epoch 2 to 4 instead of 2; from here") for line in said)
    run, uninterrupted = rows(tmp_path / "run"), rows(tmp_path / "whole")
    assert [row["epoch"] for row in run] == [1, 2, 3, 4]
    rates = [[row["learning_rate"] for row in part[2:]] for part in (run, uninterrupted)]
    assert rates[0] == pytest.approx(rates[1], rel=1e-6, abs=1e-12)
    assert longer.state.done["unary"].before_crf.miou >= first.state.done["unary"].before_crf.miou - 0.02
    again, said = trainer(tmp_path / "run", *settings, "unary.epochs=4", resume=True)
    again.run()
    assert "unary: done before" in said


@pytest.mark.parametrize(
    ("overrides", "begun", "longer"),
    [
        (["unary.epochs=9"], {"unary"}, ["unary"]),
        (["crf.epochs=9", "joint.epochs=9"], {"unary"}, []),
        (["joint.epochs=9"], {"unary", "crf", "joint", "control"}, ["joint", "control"]),
        (["joint.epochs=0"], {"unary", "crf"}, []),
    ],
)
def test_which_stages_go_on(tmp_path, overrides, begun, longer):
    assert extended_stages(config(), config(*overrides), begun, tmp_path) == longer


@pytest.mark.parametrize(
    ("overrides", "begun", "message"),
    [
        (["seed=5"], set(), r"other settings or data \(seed was 0, is 5\)"),
        (["data.crop=[64, 64]", "unary.epochs=9"], {"unary"}, r"\(data\.crop was \[32, 32\], is \[64, 64\]\)"),
        (["unary.epochs=1"], {"unary"}, "stage unary was begun with 2 epochs, not 1"),
        (["unary.epochs=9"], {"unary", "crf"}, "stage crf has begun from where stage unary ended"),
        (["crf.epochs=9"], {"unary", "crf", "joint"}, "stage joint has begun from where stage crf ended"),
    ],
)
def test_what_cannot_be_resumed(tmp_path, overrides, begun, message):
    with pytest.raises(SegtoolError, match=message):
        extended_stages(config(), config(*overrides), begun, tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "config.yaml",
            "seed: 0\nnovelty: 1\n",
            "the run's record has (no field|a field that)",
        ),
        ("state.json", '{"data": ', "not readable: .*state.json"),
    ],
)
def test_a_run_of_another_version(tmp_path, name, text, message):
    trainer(tmp_path / "run")
    (tmp_path / "run" / name).write_text(text)
    with pytest.raises(SegtoolError, match=message) as caught:
        trainer(tmp_path / "run", resume=True)
    assert "\n" not in str(caught.value)
