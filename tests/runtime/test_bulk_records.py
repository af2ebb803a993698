"""What a job on Ray Data notes, without Ray: masks' names, the index, and files that are whole."""

import contextlib
import shutil

import pyarrow.parquet as pq
import pytest

from segtool.runtime.bulk import job
from segtool.runtime.bulk.index import INDEX, merge_parts, read_index, write_part
from segtool.runtime.bulk.storage import Storage


def test_masks_keep_their_names_whatever_comes_and_goes(tiny_onnx, tmp_path, monkeypatch):
    """Two images of one name; then one is gone, and another takes its place."""
    monkeypatch.setattr(job, "connected", lambda address: contextlib.nullcontext())
    monkeypatch.setattr(job, "check_resources", lambda replicas, each: None)
    monkeypatch.setattr(
        job, "_segment", lambda work, names, plan, progress: asked.append(names) or _recorded(work, names)
    )
    asked, folder = [], tmp_path / "in"
    plan = job.Plan(model=tiny_onnx, images=str(folder), out=str(folder / "out"))

    def names_of(*paths):
        shutil.rmtree(folder / "x", ignore_errors=True)
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(b"")
        totals = job.run(plan, None)
        assert (totals.found, totals.others) == (len([p for p in paths if "txt" not in p]), ["x/notes.txt"])
        return asked.pop()

    assert names_of("x/a.jpg", "x/b.jpg", "x/notes.txt") == {"x/a.jpg": "x/a", "x/b.jpg": "x/b"}
    assert names_of("x/a.jpg", "x/a.gif", "x/notes.txt") == {"x/a.gif": "x/a_gif"}
    assert names_of("x/b.bmp", "x/notes.txt") == {"x/b.bmp": "x/b_bmp"}, "x/b.png is of an image that is gone"


def _recorded(work, names):
    for name in names.values():
        work.out.write(f"{name}.png", b"")
    write_part(work.out, [{"path": path, "mask": f"{name}.png"} for path, name in names.items()])


def test_the_index_has_every_image_once(tmp_path):
    target = Storage.at(str(tmp_path / "out"))
    assert read_index(target).num_rows == 0
    write_part(target, [{"path": "b", "error": "broken"}, {"path": "a", "mask": "masks/a.png"}])
    write_part(target, [{"path": "a", "mask": "masks/a.png"}])  # a block that was done twice
    assert merge_parts(target)["path"].to_pylist() == ["a", "b"]
    assert target.files("index") == []
    write_part(target, [{"path": "b", "mask": "masks/b.png"}])  # what had failed, tried again
    rows = {row["path"]: row for row in merge_parts(target).to_pylist()}
    assert rows["b"]["error"] is None
    assert rows["b"]["mask"] == "masks/b.png"
    assert pq.read_table(tmp_path / "out" / INDEX).num_rows == 2


def test_merging_that_is_stopped_loses_nothing(tmp_path, monkeypatch):
    target = Storage.at(str(tmp_path / "out"))
    for name in "abc":
        write_part(target, [{"path": name, "mask": name}])

    def stop(self, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "remove", stop)
        with pytest.raises(KeyboardInterrupt):
            merge_parts(target)
    assert sorted(read_index(target)["path"].to_pylist()) == ["a", "b", "c"]
    assert merge_parts(target).num_rows == 3


def test_files_are_whole_or_not_there(tmp_path):
    target = Storage.at(str(tmp_path))
    target.write("x/y.png", b"first")
    with pytest.raises(TypeError):
        target.write("x/y.png", 5)  # it fails after the temporary file was opened
    assert (tmp_path / "x" / "y.png").read_bytes() == b"first"
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["y.png"]
