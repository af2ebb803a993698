"""`segtool predict --address`: every image once, none lost, whatever is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from PIL import Image

from segtool.errors import SegtoolError
from segtool.files import digest
from segtool.images import read_image
from segtool.runtime import Tiles, load, predict_tiled
from segtool.runtime.bulk import job
from segtool.runtime.bulk.index import INDEX, read_index, write_part
from segtool.runtime.bulk.storage import Storage
from segtool.runtime.bulk.worker import Work, Worker


def make_images(folder, count, size=(32, 40)):
    """Small images in two folders, some with the same name but another ending."""
    random = np.random.default_rng(0)
    for name in "ab":
        (folder / name).mkdir(parents=True)
    for i in range(count):
        pixels = random.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "ab"[i % 2] / f"{i // 2:05d}.{'jpg' if i % 3 else 'png'}")
    return folder


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / "images", 12)


def predict(model, images, out, *options, **environment):
    command = [sys.executable, "-m", "segtool", "predict", str(model), str(images), "--out", str(out)]
    return subprocess.Popen(
        [*command, "--address", "local", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **environment},
    )


def check_masks(model, images, out, rows):
    for row in rows:
        image = read_image(images / row["path"])
        labels = np.array(Image.open(out / row["mask"]))
        np.testing.assert_array_equal(labels, model(image).labels)
        assert (row["height"], row["width"]) == labels.shape
        assert row["class_pixels"] == np.bincount(labels.ravel(), minlength=5).tolist()


def test_a_worker_segments_a_block(tiny_onnx, images, tmp_path):
    """Without Ray: the masks are the runtime's, and what fails is written down and stops nothing."""
    (images / "a" / "00001.txt").write_bytes(b"hello")
    (images / "a" / "cut.png").write_bytes((images / "a" / "00000.png").read_bytes()[:400])
    source, target = Storage.at(str(images)), Storage.at(str(tmp_path / "out"))
    paths = [*source.found(target).images, "a/gone.png"]
    worker = Worker(Work(source, target, str(tiny_onnx), batch=3))
    names = [path.partition(".")[0] for path in paths]
    assert worker({"path": np.array(paths), "name": np.array(names)}) == {"done": [12], "failed": [2]}
    rows = read_index(target).to_pylist()
    assert [row["path"] for row in rows] == paths
    assert {row["path"]: row["error"] for row in rows if row["error"]} == {
        "a/cut.png": rows[paths.index("a/cut.png")]["error"],
        "a/gone.png": "no such file or folder",
    }
    assert "unreadable image" in rows[paths.index("a/cut.png")]["error"]
    check_masks(load(tiny_onnx), images, tmp_path / "out", [row for row in rows if row["mask"]])


def test_a_worker_cuts_tiles(tiny_onnx, tmp_path, photo):
    (tmp_path / "in").mkdir()
    Image.fromarray(photo).save(tmp_path / "in" / "x.png")
    tiles = Tiles(64, 64, 16)
    worker = Worker(Work(Storage.at(str(tmp_path / "in")), Storage.at(str(tmp_path)), str(tiny_onnx), tiles=tiles))
    worker({"path": np.array(["x.png"]), "name": np.array(["x"])})
    expected = predict_tiled(load(tiny_onnx), photo, tiles).labels
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "x.png")), expected)


def test_results_of_different_jobs_are_not_mixed(tiny_onnx, images, tmp_path):
    out = tmp_path / "out"
    Storage.at(str(out)).write("job.json", b'{"model_sha256": "other", "images": "elsewhere", "tiles": null}')
    plan = job.Plan(model=tiny_onnx, images=str(images), out=str(out))
    with pytest.raises(SegtoolError, match="results of another job are there .other model_sha256, images, classes"):
        job.run(plan, None)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"images": "nowhere"}, "no such file or folder: nowhere"),
        ({"images": ".", "out": "../out"}, "no images"),
        ({"images": ".", "out": "masks"}, "no images: . .there is 1 other file: file"),
        ({"images": ".", "out": "../empty"}, "results would lie among the images: ../empty"),
        ({"images": "what://x"}, "cannot be read"),
        ({"model": "none.onnx"}, "no such model: none.onnx"),
        ({"out": "file/out"}, "cannot write"),
    ],
)
def test_what_cannot_be_done_is_said_before_ray_starts(tiny_onnx, images, tmp_path, monkeypatch, arguments, text):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "file").write_text("")
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr(job, "connected", lambda address: pytest.fail("Ray was started"))
    plan = {"model": tiny_onnx, "images": str(images), "out": "out", **arguments}
    with pytest.raises(SegtoolError, match=text):
        job.run(job.Plan(**{**plan, "model": type(tiny_onnx)(plan["model"])}), None)


@pytest.mark.slow
def test_ten_thousand_images_killed_and_resumed(tiny_onnx, tmp_path):
    model, images, out, kills = tiny_onnx, make_images(tmp_path / "images", 10_000), tmp_path / "out", 3
    (images / "a" / "broken.png").write_bytes(b"hello")
    paths = Storage.at(str(images)).found(Storage.at(str(out))).images
    done = 0
    for _ in range(kills):
        process = predict(model, images, out, "--batch", "8")
        wanted, end = done + len(paths) // (2 * kills), time.monotonic() + 300
        while (done := len(list(out.glob("*/*.png")))) < wanted:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, f"{done} of {wanted}"
            time.sleep(0.1)
        workers = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        _, alive = psutil.wait_procs(workers, timeout=60)  # one may have a block to write down before it notices
        assert not alive
    recorded = read_index(Storage.at(str(out))).num_rows
    assert 0 < recorded < len(paths)
    process = predict(model, images, out, "--batch", "8")
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 2, stderr
    assert stdout == f"{len(paths) - 1} of {len(paths)} images written to {out}, {recorded} of them before\n"
    assert "segtool: 1 images failed; why is in index.parquet (--retry tries them again)" in stderr
    rows = pq.read_table(out / INDEX).to_pylist()
    assert [row["path"] for row in rows] == paths, "every image once"
    assert [row["path"] for row in rows if row["error"]] == ["a/broken.png"]
    masks = sorted(str(p.relative_to(out)) for p in out.glob("*/*.png"))
    assert masks == sorted(row["mask"] for row in rows if row["mask"])
    check_masks(load(model), images, out, [row for row in rows if row["mask"]][:: len(rows) // 20])


@pytest.mark.slow
def test_object_storage(tiny_onnx, images, monkeypatch):
    """Through the protocol of S3, to a server of another library."""
    import boto3
    from moto.server import ThreadedMotoServer

    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        _, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
        client.create_bucket(Bucket="images")
        for path in images.rglob("*.*"):
            client.upload_file(str(path), "images", f"in/{path.relative_to(images)}")
        query = f"?endpoint_override=http%3A%2F%2F127.0.0.1%3A{port}"
        process = predict(tiny_onnx, f"s3://images/in{query}", f"s3://images/out{query}", **keys)
        stdout, stderr = process.communicate(timeout=200)
        assert process.returncode == 0, stderr
        assert stdout.startswith("12 of 12 images written to s3://images/out")
        found = {entry["Key"] for entry in client.list_objects_v2(Bucket="images", Prefix="out/")["Contents"]}
        sources = {f"out/{path.relative_to(images).with_suffix('.png')}": path for path in images.rglob("*.*")}
        assert {key for key in found if not key.endswith("/")} == {*sources, "out/index.parquet", "out/job.json"}
        model = load(tiny_onnx)
        for key in sorted(sources)[:3]:
            mask = np.array(Image.open(client.get_object(Bucket="images", Key=key)["Body"]))
            image = read_image(sources[key])
            np.testing.assert_array_equal(mask, model(image).labels)
    finally:
        server.stop()


def test_results_from_before_masks_had_the_names_of_images(tiny_onnx, images, tmp_path, monkeypatch):
    out = Storage.at(str(tmp_path / "out"))
    before = {"model_sha256": digest(tiny_onnx), "images": str(images), "tiles": None}
    out.write("job.json", json.dumps({**before, "classes": load(tiny_onnx).card.names}).encode())
    write_part(out, [{"path": path, "mask": f"masks/{path}.png"} for path in Storage.at(str(images)).files()])
    monkeypatch.setattr(job, "connected", lambda address: pytest.fail("there is nothing to do"))
    totals = job.run(job.Plan(model=tiny_onnx, images=str(images), out=str(tmp_path / "out")), None)
    assert (totals.done, totals.skipped) == (12, 12)
