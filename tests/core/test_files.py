"""Files are written whole or not at all."""

import errno
import hashlib
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtool.drawing import save_label_map
from segtool.errors import SegtoolError
from segtool.files import atomic_path, digest, ensure_folder, temporary_path, write_json, write_text


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with pytest.raises(KeyError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert '"a": 1' in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SegtoolError, match="cannot write"):
        write_json(tmp_path / "file" / "x.json", {})


def test_no_image_is_lost_between_writers(tmp_path):
    """Into folders that nobody made before."""
    labels = np.eye(4, dtype=np.uint8)
    paths = [tmp_path / "out" / str(i % 5) / f"{i}.png" for i in range(2000)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda path: save_label_map(path, labels, [(0, 0, 0), (255, 0, 0)]), paths))
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(paths)
    assert all(np.array_equal(Image.open(path), labels) for path in paths[::100])


def test_writers_of_one_file_leave_one_of_its_texts_whole(tmp_path):
    path, texts = tmp_path / "x.txt", [letter * 20_000 for letter in "abcd"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda text: write_text(path, text), texts * 50))
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_processes_that_are_forked_choose_different_names(tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        names = pool.map(temporary_path, [tmp_path / "a.png"] * 100, chunksize=1)
    assert len(set(names)) == 100
    assert {(name.parent, name.suffix, name.name[0]) for name in names} == {(tmp_path, ".png", ".")}


def test_many_prove_the_same_folder_at_once(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ensure_folder(tmp_path / "out"), range(500)))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_name_as_long_as_the_system_allows(tmp_path):
    path = tmp_path / f"{'n' * 251}.txt"
    write_text(path, "a")
    assert path.read_text() == "a"


def test_a_full_disk_is_one_line(tmp_path):
    with pytest.raises(SegtoolError, match=r"cannot write: .*x.json \(No space left on device; choose another --out"):
        _fill(tmp_path / "x.json", errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="what nobody foresaw"):
        _fill(tmp_path / "x.json", errno.EPERM, "what nobody foresaw")
    assert list(tmp_path.iterdir()) == []


def _fill(path: Path, number: int, text: str) -> None:
    with atomic_path(path):
        raise OSError(number, text)


def test_a_models_digest_is_of_all_its_files(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"graph")
    assert digest(model) == hashlib.sha256(b"graph").hexdigest()
    (tmp_path / "model.onnx.data").write_bytes(b"weights")
    first = digest(model)
    (tmp_path / "model.onnx.data").write_bytes(b"others")
    assert len({first, digest(model), hashlib.sha256(b"graph").hexdigest()}) == 3
    with pytest.raises(SegtoolError, match="no such model"):
        digest(tmp_path / "none.onnx")


def test_leftovers_of_killed_commands_go_after_a_week(tmp_path):
    old, new, others = temporary_path(tmp_path / "m.onnx"), temporary_path(tmp_path / "m.onnx"), tmp_path / ".mine.tmp"
    file, link = temporary_path(tmp_path / "a.png"), temporary_path(tmp_path / "b")
    for folder in (old, new, others, tmp_path / "far"):
        folder.mkdir()
        (folder / "m.onnx").touch()
    file.touch()
    link.symlink_to(tmp_path / "far", target_is_directory=True)
    for path in (old, others, file, link):
        os.utime(path, (time.time() - 700_000,) * 2, follow_symlinks=False)
    ensure_folder(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([new, others, tmp_path / "far"])
    assert (tmp_path / "far" / "m.onnx").exists()
