"""`segtool predict --map --address`: the maps of a folder or of object storage, on Ray."""

import numpy as np
import pytest
import rasterio
from pyarrow import fs

from segtool.runtime.bulk.index import read_index
from segtool.runtime.bulk.map_worker import MapWorker
from segtool.runtime.bulk.storage import Storage
from segtool.runtime.bulk.worker import Work

from ..command_line import segtool
from .test_maps import geotiff, image

__all__ = ["image"]  # the fixture


class Elsewhere(fs.SubTreeFileSystem):
    """A file system that is not this machine's, as far as anybody can tell."""


def labels_of(path):
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.fixture
def folder(tmp_path, image):
    """Two maps, and one that is none."""
    (tmp_path / "in" / "x").mkdir(parents=True)
    geotiff(tmp_path / "in" / "a.tif", image)
    geotiff(tmp_path / "in" / "x" / "b.tif", image[::-1].copy())
    (tmp_path / "in" / "broken.tif").write_text("hello")
    return tmp_path


@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
def test_a_worker_gives_what_the_command_gives(with_logits, folder, remote):
    at = Storage.at if not remote else lambda name: Storage(name, Elsewhere(name, fs.LocalFileSystem()), "")
    for name in ("index", "x"):  # object storage has no folders
        (folder / "out" / name).mkdir(parents=True)
    work = Work(at(str(folder / "in")), at(str(folder / "out")), str(with_logits))
    block = {"path": np.array(["a.tif", "broken.tif", "x/b.tif"]), "name": np.array(["a", "broken", "x/b"])}
    assert MapWorker(work)(block) == {"done": [2], "failed": [1]}
    segtool("predict", with_logits, "in", "--out", "here", "--map", cwd=folder)
    for name in ("a", "x/b"):
        assert np.array_equal(labels_of(folder / "out" / f"{name}.tif"), labels_of(folder / "here" / f"{name}.tif"))
    rows = {row["path"]: row for row in read_index(work.out).to_pylist()}
    labels = labels_of(folder / "out" / "a.tif")
    assert rows["a.tif"]["class_pixels"] == np.bincount(labels.ravel(), minlength=5).tolist()
    assert (rows["a.tif"]["mask"], rows["a.tif"]["height"], rows["a.tif"]["width"]) == ("a.tif", *labels.shape)
    assert 0 < rows["a.tif"]["mean_confidence"] <= 1
    assert "not an image whose bands can be read" in rows["broken.tif"]["error"]


@pytest.mark.slow
def test_the_command_on_ray_goes_on_where_it_stopped(with_logits, folder):
    command = ("predict", with_logits, "in", "--out", "out", "--map", "--address", "local")
    first = segtool(*command, cwd=folder)
    assert "2 of 3 images written to out" in first.stdout
    assert "1 images failed" in first.stderr
    assert {path.name for path in (folder / "out").iterdir()} == {"a.tif", "x", "index", "index.parquet", "job.json"}
    again = segtool(*command, cwd=folder)
    assert "3 of them before" in again.stdout
    other = segtool("predict", with_logits, "in", "--out", "out", "--address", "local", cwd=folder)
    assert "results of another job are there (other map)" in other.stderr
