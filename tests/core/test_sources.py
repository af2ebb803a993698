"""What is segmented of a folder, and what results are called."""

import os

import pytest
from PIL import Image

from segtool import formats
from segtool.errors import SegtoolError
from segtool.sources import find, left_alone, no_images, result_names, sort_out


def make(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"")


def test_everything_in_a_folder_is_found_and_sorted_out(tmp_path):
    make(tmp_path, "a.JPG", "c.gif", "d.ppm", "x/y/e.png", "x/drive.MP4", "notes.txt", "x/README")
    make(tmp_path, ".hidden.png", ".cache/f.png", "__MACOSX/._a.jpg", "out/a.png", "x/out/b.png")
    found = find(tmp_path, without=tmp_path / "out")
    assert found.images == ["a.JPG", "c.gif", "d.ppm", "x/out/b.png", "x/y/e.png"]
    assert found.videos == ["x/drive.MP4"]
    assert found.others == ["notes.txt", "x/README"]
    with pytest.raises(SegtoolError, match="no such folder"):
        find(tmp_path / "none")


def test_folders_are_found_through_links_but_not_round_and_round(tmp_path):
    make(tmp_path, "in/a.png", "elsewhere/b.png")
    os.symlink(tmp_path / "elsewhere", tmp_path / "in" / "linked")
    os.symlink(tmp_path / "in", tmp_path / "elsewhere" / "back")
    assert find(tmp_path / "in").images == ["a.png", "linked/b.png"]


def test_every_format_that_is_read_has_its_suffixes():
    """Those that Pillow knows for it, but for what is no picture of bytes."""
    Image.init()
    pillows = {suffix for suffix, form in Image.registered_extensions().items() if form in formats.FORMATS}
    assert pillows - set(formats.IMAGE_SUFFIXES) <= {".pfm", ".avifs", ".heics", ".heifs"}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.jpg", "x/a.png", "b"], ["a", "x/a", "b"]),
        (["a.jpg", "a.png", "b.png"], ["a_jpg", "a_png", "b"]),
        (["x/a.jpg", "x/a.png", "a.jpg"], ["x/a_jpg", "x/a_png", "a"]),
        (["a.jpg", "a.jpg"], ["a_jpg", "a_jpg_2"]),  # of two folders
        (["a.jpg", "a.png", "a_jpg.bmp"], ["a_jpg_2", "a_png", "a_jpg"]),
        (["A.jpg", "a.png"], ["A_jpg", "a_png"]),  # one name on many systems
        (["a.b.jpg", "a.jpg"], ["a.b", "a"]),
    ],
)
def test_results_have_names_that_differ(paths, names):
    assert result_names(paths) == names


def test_results_that_are_there_keep_their_names():
    first = result_names(["a.jpg", "b.jpg"])
    kept = dict(zip(["a.jpg", "b.jpg"], first, strict=True))
    assert result_names(["a.jpg", "a.png", "b.jpg"], kept=kept) == ["a", "a_png", "b"]
    assert result_names(["a.bmp"], taken=kept.values()) == ["a_bmp"]  # the first image is gone, its result is not


def test_what_is_left_alone_is_counted_and_named(monkeypatch):
    assert left_alone([]) == ""
    assert left_alone(["a.txt"]) == " (1 other file left alone: a.txt)"
    assert left_alone(list("abcd")) == " (4 other files left alone: a, b, c, ...)"
    monkeypatch.setattr(formats, "_HEIF", False)
    said = " (2 other files left alone: b.HEIC, a.txt; HEIC: pip install 'segtool[heic]')"
    assert left_alone(["a.txt", "b.HEIC"]) == said
    assert str(no_images("in", ["b.heic"])) == (
        "no images: in (there is 1 other file: b.heic; HEIC: pip install 'segtool[heic]')"
    )
    assert str(no_images("in", [])) == "no images: in"


def test_names_from_a_zip_file_need_no_folder():
    assert sort_out(["b/c.webp", "__MACOSX/b/._c.webp", "a.txt"]) == (["b/c.webp"], [], ["a.txt"])
