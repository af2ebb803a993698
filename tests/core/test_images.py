"""Pictures of every kind become upright RGB bytes, as Pillow's own conversions say."""

import contextlib
import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from segtool.drawing import colorize, label_map_note, overlay, save_label_map
from segtool.errors import SegtoolError
from segtool.images import TooManyPixels, decode_image, read_image


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def test_greyscale_is_repeated(tmp_path, pixels):
    Image.fromarray(pixels[..., 0]).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), pixels[..., :1].repeat(3, 2))


def test_transparency_lies_on_black(tmp_path, pixels):
    alpha = np.full((6, 9, 1), 255, np.uint8)
    alpha[0] = 0
    Image.fromarray(np.concatenate([pixels, alpha], 2)).save(tmp_path / "x.png")
    image = read_image(tmp_path / "x.png")
    assert not image[0].any()
    np.testing.assert_array_equal(image[1:], pixels[1:])


def test_sixteen_bits_are_scaled(tmp_path):
    levels = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png")[0, :, 0].tolist() == [0, 1, 128, 255]


def test_exif_rotation_is_applied(tmp_path, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), np.rot90(pixels, -1))


def test_palette_image(tmp_path, pixels):
    save_label_map(tmp_path / "x.png", np.array([[0, 1]], np.uint8), [(1, 2, 3), (4, 5, 6)])
    assert read_image(tmp_path / "x.png").tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert np.array(Image.open(tmp_path / "x.png")).tolist() == [[0, 1]]


@pytest.mark.parametrize(("content", "message"), [(b"hello", "not an image"), (b"", "the file is empty")])
def test_not_an_image(tmp_path, content, message):
    (tmp_path / "x.png").write_bytes(content)
    for path in (tmp_path / "x.png", str(tmp_path / "x.png")):
        with pytest.raises(SegtoolError, match=message):
            read_image(path)


def test_truncated(tmp_path, pixels):
    big = pixels.repeat(20, 0).repeat(20, 1)
    Image.fromarray(big).save(tmp_path / "x.jpg")
    data = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "x.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(SegtoolError, match="unreadable image"):
        read_image(tmp_path / "x.jpg")


def test_missing(tmp_path):
    with pytest.raises(SegtoolError, match="no such file"):
        read_image(tmp_path / "x.jpg")


def test_the_largest_size_is_ours_and_not_pillows(tmp_path, pixels, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # with which Pillow refuses 54 pixels
    Image.fromarray(pixels).save(tmp_path / "x.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_image(tmp_path / "x.png"), pixels)
    with pytest.raises(TooManyPixels, match="6x9"):
        read_image(tmp_path / "x.png", max_pixels=53)
    file = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(file, "PNG")
    with pytest.raises(TooManyPixels, match=r"10000x20000 has more than 100\.0 million pixels"):
        decode_image(file.getvalue())
    Image.fromarray(pixels).save(tmp_path / "x.tif", compression="tiff_lzw")  # where Pillow looks when it decodes, too
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), pixels)
    assert Image.MAX_IMAGE_PIXELS == 20  # it is the whole program's


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "F"])
def test_strips_are_the_whole(tmp_path, mode):
    """Against Pillow, which does all rows at once."""
    random = np.random.default_rng(5)
    grey = random.integers(0, 256, (600, 7), np.uint8)
    if mode in ("I;16", "F"):
        levels = grey.astype(np.uint16 if mode == "I;16" else np.float32) * 257
        Image.fromarray(levels).save(tmp_path / "x.tif")
        expected = np.repeat(grey[..., None], 3, axis=2)
    else:
        image = Image.fromarray(random.integers(0, 256, (600, 7, 4), np.uint8), "RGBA").convert(mode)
        image.save(tmp_path / "x.png", **({"transparency": 3} if mode == "P" else {}))
        rgba = Image.open(tmp_path / "x.png").convert("RGBA")
        expected = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    found = read_image(next(tmp_path.iterdir()))
    np.testing.assert_array_equal(found, np.array(expected))


def test_labels_in_colours(pixels):
    labels = np.array([[0, 1, 255]], np.uint8)
    assert colorize(labels, [(9, 8, 7), (1, 2, 3)]).tolist() == [[[9, 8, 7], [1, 2, 3], [0, 0, 0]]]


def test_overlay_mixes(pixels):
    labels = np.random.default_rng(1).integers(0, 3, (6, 9), np.uint8)
    colors = [(255, 0, 0), (0, 255, 0), (7, 77, 177)]
    mixed = 0.4 * pixels + 0.6 * np.array(colors)[labels]
    assert np.abs(overlay(pixels, labels, colors, 0.6) - mixed).max() < 1.01


def test_overlay_leaves_the_image_at_zero_and_shows_colours_at_one(pixels):
    labels = np.zeros((6, 9), np.uint8)
    np.testing.assert_array_equal(overlay(pixels, labels, [(9, 8, 7)], 0.0), pixels)
    assert (overlay(pixels, labels, [(9, 8, 7)], 1.0) == (9, 8, 7)).all()


def photo_like(height, width):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, 128 + 0 * x], -1).astype(np.uint8)


@pytest.mark.parametrize(("name", "form"), [("x.heic", "HEIF"), ("x.avif", "AVIF")])
def test_pictures_of_phones(tmp_path, name, form):
    image = photo_like(48, 64)
    Image.fromarray(image).save(tmp_path / name, form, quality=90)
    assert np.abs(read_image(tmp_path / name).astype(int) - image).mean() < 6, "but for the compression"
    with pytest.raises(TooManyPixels, match="an image of 48x64 has more than"):
        decode_image((tmp_path / name).read_bytes(), 1000)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SegtoolError, match="unreadable image|not an image"):
        read_image(tmp_path / name)


def test_heic_is_named_where_it_is_not_read(tmp_path):
    """By what the file holds and by its name, in a process without the library."""
    (tmp_path / "in").mkdir()
    Image.fromarray(photo_like(48, 64)).save(tmp_path / "in" / "b.heic")
    (tmp_path / "in" / "b.heic").rename(tmp_path / "in" / "a.jpg")
    Image.fromarray(photo_like(48, 64)).save(tmp_path / "in" / "b.heic")
    probe = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from pathlib import Path; from segtool.images import read_image\n"
        "from segtool.sources import find, left_alone\n"
        "found = find(Path('in')); print(found.images, left_alone(found.others))\n"
        "try: read_image(Path('in/a.jpg'))\n"
        "except Exception as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        "['a.jpg']  (1 other file left alone: b.heic; HEIC: pip install 'segtool[heic]')",
        "HEIC is not read here: in/a.jpg (pip install 'segtool[heic]', or convert it)",
    ]


def test_a_label_map_keeps_its_note(tmp_path):
    path = tmp_path / "x.png"
    save_label_map(path, np.eye(50, dtype=np.uint8), [(0, 0, 0)], note="by whom")
    assert label_map_note(path) == "by whom"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SegtoolError, match="unreadable image"):
        label_map_note(path)
    save_label_map(path, np.array([[0]], np.uint8), [(0, 0, 0)])
    assert label_map_note(path) == ""


def test_a_damaged_fax_is_refused(tmp_path, capfd):
    """Pillow reads on over what libtiff finds wrong in it."""
    pixels = np.random.default_rng(0).integers(0, 2, (64, 64), np.uint8).astype(bool)
    path = tmp_path / "a.tif"
    Image.fromarray(pixels).save(path, compression="group4")
    assert read_image(path).shape == (64, 64, 3)
    data, refused = bytearray(path.read_bytes()), 0
    for place in range(20, 120):
        changed = bytearray(data)
        changed[place] ^= 0x10
        path.write_bytes(changed)
        with contextlib.suppress(SegtoolError):
            read_image(path)
            continue
        refused += 1
    assert refused > 50
    assert capfd.readouterr() == ("", "")
