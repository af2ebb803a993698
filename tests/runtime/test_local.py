"""`segtool predict` on this machine: every image of every folder, and where it was stopped it goes on."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from segtool.cli import cli
from segtool.drawing import label_map_note, save_image
from segtool.errors import SegtoolError
from segtool.images import read_image
from segtool.prediction import Prediction
from segtool.readers import PictureReader
from segtool.runtime import Tiles, load, local
from segtool.runtime.local import Job, is_done, note_of, origin_of, segment_images, tasks_of

from .test_video import write_video


@pytest.fixture
def images(tmp_path, photo):
    """Pictures of several formats in folders, and what is none."""
    folder = tmp_path / "in"
    for name in ("a.jpg", "c.gif", "d.ppm", "e.heic", "x/a.png", "x/y/f.webp"):
        save_image(folder / name, photo[: 40 + len(name), :64])
    (folder / "notes.txt").write_text("")
    return folder


def predict(*arguments):
    result = CliRunner().invoke(cli, ["predict", *map(str, arguments)])
    if isinstance(result.exception, SegtoolError):
        return result.stdout, str(result.exception)
    assert result.exception is None, result.output
    return result.stdout, ""


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_nothing_of_a_folder_is_skipped_in_silence(tiny_onnx, images, tmp_path):
    out = tmp_path / "out"
    said, _ = predict(tiny_onnx, images, "--out", out)
    assert said == f"6 of 6 images written to {out} (1 other file left alone: notes.txt)\n"
    stems = ("a", "c", "d", "e", "x/a", "x/y/f")
    assert files(out) == {f"{stem}{ending}" for stem in stems for ending in (".png", "_overlay.jpg")}
    for path, stem in (("x/y/f.webp", "x/y/f"), ("c.gif", "c")):
        expected = load(tiny_onnx)(read_image(images / path)).labels
        np.testing.assert_array_equal(np.array(Image.open(out / f"{stem}.png")), expected)


def test_results_in_the_folder_of_the_images_are_not_read_again(tiny_onnx, images):
    out = images / "results"
    for _ in range(2):
        said, _ = predict(tiny_onnx, images, "--out", out)
        assert said.startswith("6 of 6 images written")
    _, error = predict(tiny_onnx, images, "--out", images)
    assert error == f"results would lie among the images: {images} (choose another --out)"


def test_two_images_of_one_name_get_results_of_their_own(tiny_onnx, tmp_path, photo):
    for name, rows in (("one/a.jpg", 50), ("one/a.png", 60), ("two/a.jpg", 70)):
        save_image(tmp_path / name, photo[:rows, :64])
    predict(tiny_onnx, tmp_path / "one", tmp_path / "two", "--out", tmp_path / "out")
    heights = {path.name: Image.open(path).height for path in (tmp_path / "out").glob("*.png")}
    assert heights == {"a_jpg.png": 50, "a_png.png": 60, "a_jpg_2.png": 70}


def test_videos_of_a_folder_are_segmented_beside_its_images(tiny_onnx, tmp_path, photo):
    """The frames of drive.mp4 do not mix with the images of the folder drive."""
    save_image(tmp_path / "in" / "drive" / "000000.png", photo)
    write_video(tmp_path / "in" / "drive.mp4", 2)
    said, _ = predict(tiny_onnx, tmp_path / "in", "--out", tmp_path / "out", "--frames")
    assert said == f"2 of 2 files written to {tmp_path / 'out'}\n"
    assert files(tmp_path / "out") == {
        "drive/000000.png", "drive/000000_overlay.jpg", "drive_mp4_overlay.mp4", "drive_mp4/000000.png",
        "drive_mp4/000001.png",
    }  # fmt: skip


def test_a_video_without_its_library_stops_no_image(tiny_onnx, tmp_path, photo, monkeypatch):
    save_image(tmp_path / "in" / "a.png", photo)
    (tmp_path / "in" / "b.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "segtool.runtime.video", None)
    said, error = predict(tiny_onnx, tmp_path / "in", "--out", tmp_path / "out")
    assert said.startswith("1 of 2 files written")
    assert error.endswith("b.mp4 (pip install 'segtool[video]')")


def test_a_folder_without_images_says_what_is_there(tiny_onnx, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("")
    assert predict(tiny_onnx, tmp_path / "in", "--out", tmp_path / "out")[1] == (
        f"no images: {tmp_path / 'in'} (there is 1 other file: a.txt)"
    )
    assert not (tmp_path / "out").exists()


def test_resume_does_what_is_left_and_no_more(tiny_onnx, images, tmp_path, monkeypatch):
    out, read = tmp_path / "out", []
    plain = PictureReader.open
    noted = lambda self, path: read.append(path.relative_to(images)) or plain(self, path)  # noqa: E731
    monkeypatch.setattr(PictureReader, "open", noted)

    def resume():
        read.clear()
        said, _ = predict(tiny_onnx, images, "--out", out, "--resume")
        return said.partition(" (")[0], {path.as_posix() for path in read}

    assert resume() == (
        f"6 of 6 images written to {out}",
        {"a.jpg", "c.gif", "d.ppm", "e.heic", "x/a.png", "x/y/f.webp"},
    )
    assert resume() == (f"6 of 6 images written to {out}, 6 of them before", set())
    (out / "a.png").write_bytes((out / "a.png").read_bytes()[:900])  # not whole
    (out / "c_overlay.jpg").unlink()
    shutil.copy(out / "x" / "y" / "f.png", out / "d.png")  # another image's
    later = time.time() + 10
    os.utime(images / "x" / "a.png", (later, later))  # changed since
    said, done = resume()
    assert said.endswith("2 of them before")
    assert done == {"a.jpg", "c.gif", "d.ppm", "x/a.png"}
    for name in ("a.jpg", "d.ppm"):
        mask = np.array(Image.open((out / name).with_suffix(".png")))
        np.testing.assert_array_equal(mask, load(tiny_onnx)(read_image(images / name)).labels)


def test_resume_takes_no_results_of_another_model_or_other_tiles(tiny_onnx, images, tmp_path):
    model = tmp_path / "model.onnx"
    shutil.copy(tiny_onnx, model)
    (task,) = (task for task in tasks_of([images], tmp_path / "out").images if task.source.name == "a.jpg")
    predict(model, images, "--out", tmp_path / "out")
    origin = origin_of(model, None, False)
    assert is_done(task, origin)
    assert is_done(task, origin_of(tiny_onnx, None, False)), "the same file elsewhere"
    assert not is_done(task, origin_of(model, Tiles(64, 64, 8), False))
    (tmp_path / "model.onnx.data").write_bytes(b"other weights")
    assert not is_done(task, origin_of(model, None, False))
    assert label_map_note(task.mask) == note_of(origin, task.source)


def test_resume_makes_a_damaged_overlay_again(tiny_onnx, images, tmp_path):
    out = tmp_path / "out"
    predict(tiny_onnx, images, "--out", out)
    whole = (out / "a_overlay.jpg").read_bytes()
    for content in (b"", whole[:300]):
        (out / "a_overlay.jpg").write_bytes(content)
        said, _ = predict(tiny_onnx, images, "--out", out, "--resume")
        assert "5 of them before" in said
        assert (out / "a_overlay.jpg").read_bytes() == whole


def test_resume_knows_a_file_that_has_taken_another_s_place(tiny_onnx, tmp_path):
    """Of the same name below another folder, and of the same name and size with an older date."""
    for place, level in (("p1", 40), ("p2", 200)):
        (tmp_path / place / "in").mkdir(parents=True)
        Image.new("RGB", (50, 40), (level, 90, 255 - level)).save(tmp_path / place / "in" / "a.bmp")
    command = [sys.executable, "-m", "segtool", "predict", str(tiny_onnx), "in", "--out", str(tmp_path / "out")]

    def resumed(place):
        told = subprocess.run([*command, "--resume"], cwd=tmp_path / place, capture_output=True, text=True, check=True)
        return "1 of them before" in told.stdout

    assert [resumed("p1"), resumed("p1"), resumed("p2")] == [False, True, False]
    shutil.copyfile(tmp_path / "p1" / "in" / "a.bmp", tmp_path / "p2" / "in" / "a.bmp")
    os.utime(tmp_path / "p2" / "in" / "a.bmp", (10**9, 10**9))
    assert not resumed("p2")


def test_a_video_that_is_not_there_is_one_line(tiny_onnx, images, tmp_path):
    said, error = predict(tiny_onnx, images, tmp_path / "missing.mp4", "--out", tmp_path / "out")
    assert "missing.mp4" in error
    assert said.startswith("6 of 7 ")


def test_resume_of_videos(tiny_onnx, tmp_path):
    write_video(tmp_path / "a.mp4", 2)
    arguments = (tiny_onnx, tmp_path / "a.mp4", "--out", tmp_path / "out", "--resume")
    assert predict(*arguments)[0].endswith("1 of 1 files written to " + str(tmp_path / "out") + "\n")
    assert predict(*arguments)[0].endswith("1 of them before\n")
    assert "before" not in predict(*arguments, "--frames")[0]
    overlay = tmp_path / "out" / "a_overlay.mp4"
    overlay.write_bytes(overlay.read_bytes()[:200])
    assert "before" not in predict(*arguments, "--frames")[0]


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on(tiny_onnx, tmp_path, photo):
    for i in range(300):
        save_image(tmp_path / "in" / f"{i:03d}.png", np.roll(photo, i, axis=1))
    command = [sys.executable, "-m", "segtool", "predict", str(tiny_onnx), "in", "--out", "out"]
    process = subprocess.Popen(command, cwd=tmp_path)
    end = time.monotonic() + 60
    while len(list((tmp_path / "out").glob("*.png"))) < 10:
        assert time.monotonic() < end
        time.sleep(0.02)
    process.kill()
    process.wait()
    there = {path.name for path in (tmp_path / "out").glob("*.png")}
    for path in sorted(there):
        assert label_map_note(tmp_path / "out" / path), "whole or not there"
    result = subprocess.run([*command, "--resume"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert len(there) < 300
    assert result.stdout == f"300 of 300 images written to out, {len(there)} of them before\n"
    assert len([name for name in files(tmp_path / "out") if not name.startswith(".")]) == 600


def test_two_thousand_small_images_are_all_written(tiny_onnx, tmp_path, monkeypatch):
    """With a model that takes no time, so that writers are what is busy."""
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "in" / "0.png")
    data = (tmp_path / "in" / "0.png").read_bytes()
    for i in range(2000):
        (tmp_path / "in" / f"{i}.png").write_bytes(data)
    whole = local.run_overlapped
    monkeypatch.setattr(local, "run_overlapped", lambda *args, **pace: whole(*args, **pace, writers=4))
    labels, sure = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.float32)
    job = Job(lambda images: [Prediction(labels, sure) for _ in images], load(tiny_onnx).card, "")
    tasks = tasks_of([tmp_path / "in"], tmp_path / "out").images
    assert segment_images(tasks, job, lambda done, total: None) == [None] * 2000
    assert files(tmp_path / "out") == {f"{i}{end}" for i in range(2000) for end in (".png", "_overlay.jpg")}
