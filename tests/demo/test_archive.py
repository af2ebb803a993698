"""Many images: what comes out is the runtime's, and no zip file does harm."""

import csv
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from segtool.demo import archive
from segtool.demo.archive import segment_archive
from segtool.errors import SegtoolError
from segtool.runtime import load


@pytest.fixture(scope="module")
def model(tiny_onnx):
    return load(tiny_onnx)


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def packed(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return path


def segment(path, model, max_pixels=20_000):
    with zipfile.ZipFile(io.BytesIO(segment_archive(path, model, model.card, max_pixels).packed)) as result:
        files = {name: result.read(name) for name in result.namelist()}
    rows = list(csv.DictReader(io.StringIO(files["index.csv"].decode())))
    return files, {row["name"]: row for row in rows}


def test_masks_overlays_and_shares(model, photo, tmp_path):
    files, rows = segment(packed(tmp_path / "a.zip", {"x/a.png": png(photo), "b.png": png(photo[:50])}), model)
    assert set(files) == {
        "x/a.png",
        "b.png",
        "x/a_overlay.jpg",
        "b_overlay.jpg",
        "index.csv",
    }
    labels = np.array(Image.open(io.BytesIO(files["x/a.png"])))
    np.testing.assert_array_equal(labels, model(photo).labels)
    assert Image.open(io.BytesIO(files["b_overlay.jpg"])).size == (131, 50)
    row = rows["x/a.png"]
    assert (row["mask"], row["height"], row["width"], row["error"]) == ("x/a.png", "97", "131", "")
    for info in model.card.classes:
        assert float(row[info.name]) == pytest.approx((labels == info.id).mean(), abs=1e-6)


def test_what_cannot_be_read_is_in_the_index_and_stops_nothing(model, photo, tmp_path):
    big = np.zeros((200, 200, 3), np.uint8)
    files = {"bad.png": b"hello", "big.png": png(big), "cut.png": png(photo)[:500], "good.png": png(photo)}
    out, rows = segment(packed(tmp_path / "a.zip", files), model)
    assert rows["bad.png"]["error"] == "not an image"
    assert "more than 0.0 million pixels" in rows["big.png"]["error"]
    assert "unreadable image" in rows["cut.png"]["error"]
    assert rows["good.png"]["error"] == ""
    assert set(out) == {"good.png", "good_overlay.jpg", "index.csv"}


def test_names_do_not_lead_out_of_the_folder(model, photo, tmp_path):
    names = ["../../up.png", "/root.png", "C:\\windows\\w.png", "a/../../b.png"]
    files, rows = segment(packed(tmp_path / "a.zip", dict.fromkeys(names, png(photo[:32, :32]))), model)
    assert set(rows) == {"up.png", "root.png", "windows/w.png", "a/b.png"}
    assert not any(name.startswith("/") or ".." in name or ":" in name for name in files)


def test_what_is_no_image_is_left_alone_and_named(model, photo, tmp_path):
    files = {"a.png": png(photo), "cut.png": b"", "notes.txt": b"x", "__MACOSX/._a.png": b"x", ".hidden.png": b"x"}
    path = packed(tmp_path / "a.zip", files)
    rows = segment(path, model)[1]
    assert set(rows) == {"a.png", "cut.png", "notes.txt"}
    assert rows["notes.txt"]["error"] == "left alone: not named as an image"
    line = segment_archive(path, model, model.card, 20_000).line
    assert line == "1 of 2 images segmented (1 other file left alone: notes.txt)"


def test_images_of_one_name_get_results_of_their_own(model, photo, tmp_path):
    names = ["a.png", "a.jpg", "../a.png"]
    files, rows = segment(packed(tmp_path / "a.zip", {n: png(photo[: 40 + i]) for i, n in enumerate(names)}), model)
    heights = {name: Image.open(io.BytesIO(data)).height for name, data in files.items() if name.endswith(".png")}
    assert heights == {"a_png.png": 40, "a_jpg.png": 41, "a_png_2.png": 42}
    assert rows["a.jpg"]["mask"] == "a_jpg.png"


def test_what_is_refused(model, photo, tmp_path, monkeypatch):
    def refusal(path):
        with pytest.raises(SegtoolError) as error:
            segment_archive(path, model, model.card, 20_000)
        return str(error.value)

    (tmp_path / "no.zip").write_bytes(b"hello")
    assert "not a zip file" in refusal(tmp_path / "no.zip")
    whole = packed(tmp_path / "a.zip", {"a.png": png(photo)}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    assert "not a zip file" in refusal(tmp_path / "cut.zip")
    assert "no images" in refusal(packed(tmp_path / "empty.zip", {"a.txt": b""}))
    # A thousandth of its size when packed.
    bomb = packed(tmp_path / "bomb.zip", {f"{i}.png": bytes(2**20) for i in range(6)})
    monkeypatch.setattr(archive, "MAX_UNPACKED", 5 * 2**20)
    assert "more than 5 MiB of images" in refusal(bomb)
    monkeypatch.setattr(archive, "MAX_IMAGES", 5)
    assert "more than 5 images" in refusal(bomb)


def test_a_zip_that_lies_about_sizes_is_not_unpacked_further(model, photo, tmp_path):
    """The size in the directory is what the limit was checked against."""
    data = bytearray(packed(tmp_path / "a.zip", {"a.png": bytes(10**6)}).read_bytes())
    place = data.rindex(b"PK\x01\x02") + 24  # uncompressed size in the central directory
    data[place : place + 4] = (1000).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(data)
    _, rows = segment(tmp_path / "a.zip", model)
    assert rows["a.png"]["error"] == "damaged in the zip file, or packed with a password"


def test_a_model_that_breaks_is_not_called_a_damaged_file(model, photo, tmp_path):
    def broken(image):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        segment_archive(packed(tmp_path / "a.zip", {"a.png": png(photo)}), broken, model.card, 20_000)
