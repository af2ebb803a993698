"""Whatever goes wrong is one line, and what is shown is shown and not obeyed."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from segtool import cli
from segtool.errors import SegtoolError, printable

from ..command_line import segtool

ERRORS = {
    "user": (SegtoolError("wrong", where="here", mend="so"), 2, "wrong: here (so)"),
    "full disk": (OSError(errno.ENOSPC, "No space left on device", "x/y.png"), 2, "No space left on device: x/y.png"),
    "read-only": (OSError(errno.EROFS, "Read-only file system", b"x"), 2, "Read-only file system: x (write elsewhere)"),
    "memory": (MemoryError(), 2, "there is not enough memory (smaller"),
    "memory of torch": (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 2, "not enough"),
    "interrupted": (KeyboardInterrupt(), 130, "interrupted"),
    "not installed": (ModuleNotFoundError("No module named 'ray'", name="ray"), 2, "pip install 'segtool[serve]'"),
    "fault": (ValueError("odd\nand long"), 1, "ValueError: odd (this is a fault of segtool: run it with"),
}  # fmt: skip


@pytest.mark.parametrize(("error", "code", "line"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_is_one_line(tmp_path, monkeypatch, error, code, line):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(cli, "cli", fail)
    result = segtool("doctor", cwd=tmp_path)
    assert result.returncode == code
    assert line in result.stderr
    assert result.stderr.startswith("segtool: ")
    assert result.stderr.count("\n") == 1
    with pytest.raises(type(error)):
        segtool("--debug", "doctor", cwd=tmp_path)


def test_usage_errors_have_click_s_code(tmp_path):
    result = segtool("predict", "--out", cwd=tmp_path)
    assert result.returncode == 2
    assert "Usage:" in result.stderr or "Error:" in result.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 漢\tand\nlines", "plain ä 漢\tand\nlines"),
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("bell\x07 back\x08 ret\r", "bell\\x07 back\\x08 ret\\r"),
        ("پیاده\u200cرو 道路\u3000標識 8:30\u202fAM", "پیاده\u200cرو 道路\u3000標識 8:30\u202fAM"),
        ("right to left \u202e", "right to left \\u202e"),
        (os.fsdecode(b"latin \xe4"), "latin \\udce4"),
    ],
)
def test_terminals_obey_no_text(text, shown):
    assert printable(text) == shown
    assert shown in str(SegtoolError(text))
    printable(text).encode()


def test_odd_files_in_a_folder(tiny_onnx, tmp_path, photo):
    """A pipe that nobody writes to, links that lead in a circle, and names that are no text."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(photo).save(folder / "good.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "back").symlink_to(folder, target_is_directory=True)
    (folder / "nowhere.png").symlink_to("is not there")
    Image.fromarray(photo).save(folder / "escape\x1b[31m.png")
    Image.fromarray(photo).save(folder / os.fsdecode(b"latin\xe4.png"))
    Image.fromarray(photo).save(folder / f"{'n' * 246}.png")  # the name of its overlay would be too long
    result = segtool("predict", tiny_onnx, "in", "--out", "out", cwd=tmp_path)
    assert result.returncode == 2
    assert "3 of 7 images" in result.stdout
    lines = result.stderr.splitlines()
    assert len(lines) == 4, lines
    assert all(line.startswith("segtool: ") for line in lines)
    assert "\x1b" not in result.stdout + result.stderr
    for name in ("good.png", "escape\x1b[31m.png", os.fsdecode(b"latin\xe4.png")):
        assert np.array(Image.open(tmp_path / "out" / name)).shape == photo.shape[:2]


def bomb(path):
    """A GIF of 30,000 x 30,000 pixels in 35 bytes."""
    screen = (30_000).to_bytes(2, "little") * 2
    palette, picture = bytes(3) + b"\xff" * 3, b"," + bytes(4) + screen + b"\0\x02\x01\0\0;"
    path.write_bytes(b"GIF89a" + screen + b"\x80\0\0" + palette + picture)


@pytest.mark.parametrize("command", ["predict", "data"])
def test_a_bomb_is_not_decoded(tiny_onnx, tmp_path, photo, command):
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
        bomb(tmp_path / split / "images" / "a.gif")
        Image.fromarray(photo[..., 0] % 2).save(tmp_path / split / "masks" / "a.png")
    (tmp_path / "classes.yaml").write_text("classes: [a, b]\n")
    commands = {
        "predict": ("predict", tiny_onnx, tmp_path / "train" / "images", "--out", "out"),
        "data": ("data", "check", f"folder:{tmp_path}"),
    }
    result = segtool(*commands[command], cwd=tmp_path)
    said = result.stdout + result.stderr
    assert result.returncode == {"predict": 2, "data": 1}[command]
    assert "an image of 30000x30000 has more than 100.0 million pixels" in said
    assert "segtool --max-pixels 900000000" in said
    small = segtool("--max-pixels", "12000", *commands[command], cwd=tmp_path)
    assert "more than 0.0 million pixels" in small.stdout + small.stderr


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.4, 1.0, 2.0, 4.0, 7.0])
def test_ctrl_c_before_training_starts(tmp_path, seconds):
    arguments = ["train", "--preset", "quickstart", "--data", "synthetic", "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "segtool", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # as in a terminal
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    assert "interrupted" in out + err
