"""Disks that fill and folders that turn read-only, under every command that writes: one line, and no half file.

Real file systems, in a mount namespace of the command's own.
"""

import json
import shutil
import subprocess
import sys

import onnx
import pyarrow.parquet as pq
import pytest
import safetensors
import yaml
from PIL import Image

from tests.conftest import TINY

pytestmark = pytest.mark.slow

# $1: size of the disk; $2: the file with which it turns read-only, "now" or "never". The folder `disk` is the disk, and
# `after` what is on it in the end.
_SCRIPT = """
size=$1; turns=$2; shift 2
mount -t tmpfs -o size=$size none disk || exit 99
cp -a before/. disk || exit 98
case $turns in
never) ;;
now) mount -o remount,ro none disk ;;
*) (until [ -e disk/$turns ] && mount -o remount,ro none disk 2>>mount.log; do sleep 0.05; done) & ;;
esac
"$@"
code=$?
kill $! 2>>mount.log
cp -a disk/. after
exit $code
"""


@pytest.fixture
def on_disk(tmp_path):
    """Of (size, turns, arguments): how a command ends on such a disk; what it wrote is in tmp_path / "after"."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make mount namespaces (unshare -rm)")

    def run(size, turns, *arguments):
        for name in ("before", "disk", "after"):
            (tmp_path / name).mkdir(exist_ok=True)
        command = ["unshare", "-rm", "sh", "-c", _SCRIPT, "sh", size, turns, sys.executable, "-m", "segtool"]
        done = subprocess.run(
            [*command, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, timeout=600
        )
        assert done.returncode not in (98, 99), done.stderr
        return done

    return run


def whole(folder):
    """Reads every file that a user sees."""
    readers = {
        ".png": lambda path: Image.open(path).load(),
        ".jpg": lambda path: Image.open(path).load(),
        ".parquet": pq.read_table,
        ".json": lambda path: json.loads(path.read_text()),
        ".yaml": lambda path: yaml.safe_load(path.read_text()),
        ".onnx": onnx.load,
        ".safetensors": lambda path: safetensors.safe_open(path, "pt").keys(),
    }
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(".") and path.suffix in readers:
            readers[path.suffix](path)


def refused(done, folder):
    """Exit code 2 and one line of the error, whatever was said before."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("segtool: ")][-1:]
    assert any(words in line for words in ("No space left", "Read-only", "read-only", "cannot write")), done.stderr
    whole(folder)


def settings():
    return [part for setting in TINY for part in ("--set", setting)]


@pytest.mark.parametrize(
    ("size", "turns"), [("8k", "never"), ("300k", "never"), ("20m", "now"), ("20m", "masks/000.png")]
)
def test_predict(on_disk, tiny_onnx, tmp_path, photo, size, turns):
    (tmp_path / "in").mkdir()
    for i in range(300):
        Image.fromarray(photo).save(tmp_path / "in" / f"{i:03d}.png")
    done = on_disk(size, turns, "predict", tiny_onnx, "in", "--out", "disk/masks")
    refused(done, tmp_path / "after")
    assert len(done.stderr.splitlines()) == 1, done.stderr  # not one for each image


@pytest.mark.parametrize(
    "command",
    [["eval", "MODEL", "--data", "synthetic:64", "--out", "disk/scores"],
     ["data", "show", "synthetic:64", "--out", "disk/sheet.png"],
     ["data", "stats", "synthetic:64", "--plot", "disk/plot.png"],
     ["bench", "MODEL", "--runs", "2", "--out", "disk/times.json"]],
    ids=lambda command: "-".join(command[: 2 if command[0] == "data" else 1]),
)  # fmt: skip
@pytest.mark.parametrize(("size", "turns"), [("8k", "never"), ("20m", "now")])
def test_what_writes_one_result(on_disk, tiny_onnx, tmp_path, command, size, turns):
    done = on_disk(size, turns, *[tiny_onnx if part == "MODEL" else part for part in command])
    refused(done, tmp_path / "after")


@pytest.mark.parametrize(("size", "turns"), [("1m", "never"), ("20m", "now")])
def test_export(on_disk, tiny_run, tmp_path, size, turns):
    refused(on_disk(size, turns, "export", tiny_run, "--out", "disk/m.onnx"), tmp_path / "after")
    assert not (tmp_path / "after" / "m.onnx").exists()


@pytest.mark.parametrize(("size", "turns"), [("1900k", "never"), ("20m", "now")])
def test_verify(on_disk, tiny_run, tiny_onnx, tmp_path, size, turns):
    (tmp_path / "before").mkdir()
    shutil.copy(tiny_onnx, tmp_path / "before" / "m.onnx")
    refused(on_disk(size, turns, "verify", tiny_run, "disk/m.onnx", "--limit", "1"), tmp_path / "after")
    assert (tmp_path / "after" / "m.onnx").read_bytes() == tiny_onnx.read_bytes()


@pytest.mark.parametrize(
    ("size", "turns"), [("64k", "never"), ("2m", "never"), ("6m", "never"), ("99m", "run/unary/last.ckpt")]
)
def test_train(on_disk, tmp_path, size, turns):
    more = settings() if turns == "never" else [*settings(), "--set", "unary.epochs=500"]
    done = on_disk(size, turns, "train", "--preset", "quickstart", "--data", "synthetic:64", "--out", "disk/run", *more)
    refused(done, tmp_path / "after")
