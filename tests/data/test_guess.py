"""`data init` on layouts that are found in the wild, `data split`, `data convert`: each from the command line."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from segtool.data import open_dataset
from segtool.data.guess import guess
from segtool.errors import SegtoolError

from .. import command_line
from . import wild
from .wild import LAYOUTS, labels_of, photo, save


def segtool(*arguments):
    """The exit code, and all that is printed."""
    done = command_line.segtool(*arguments, cwd=".")
    return SimpleNamespace(exit_code=done.returncode, output=done.stdout + done.stderr)


def spec_of(said):
    (line,) = (line for line in said.splitlines() if line.startswith("now: segtool data check "))
    return line.removeprefix("now: segtool data check ")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_init_guesses_what_is_there(tmp_path, layout):
    truth = layout(tmp_path)
    done = segtool("data", "init", str(tmp_path))
    assert done.exit_code == 0, done.output
    spec = spec_of(done.output)
    checked = segtool("data", "check", spec)
    assert checked.exit_code == 0, checked.output
    splits = [open_dataset(spec, split) for split in ("train", "val")]
    places = {(d.split, d.identifier(i)): (d, i) for d in splits for i in range(len(d))}
    dataset, index = places[min(places, key=lambda place: (place[1], place[0] != "train"))]
    np.testing.assert_array_equal(dataset.load(index).labels, truth)


def test_names_come_from_the_lists_beside(tmp_path):
    wild.camvid_of_the_web(tmp_path)
    segtool("data", "init", str(tmp_path))
    dataset = open_dataset(f"folder:{tmp_path}", "val")
    assert [(c.name, c.color) for c in dataset.classes] == [("Road", (128, 64, 128)), ("Car", (0, 0, 142))]


def test_names_of_ids_come_from_the_lists_beside(tmp_path):
    wild.two_folders(tmp_path)
    (tmp_path / "classes.txt").write_text("unlabeled\nroad\ncar\nbus\n")
    segtool("data", "init", str(tmp_path))
    dataset = open_dataset(f"folder:{tmp_path}", "all")
    assert [c.name for c in dataset.classes] == ["road", "car", "bus"]
    np.testing.assert_array_equal(dataset.load(0).labels, np.array([255, 0, 1], np.uint8)[labels_of(0)])


def test_films_are_dealt_whole(tmp_path):
    wild.films(tmp_path)
    segtool("data", "init", str(tmp_path))
    found = [open_dataset(f"folder:{tmp_path}", split) for split in ("train", "val")]
    train, val = ({d.identifier(i).split("/")[0] for i in range(len(d))} for d in found)
    assert train
    assert val
    assert not train & val


def test_a_refused_folder_says_what_it_seems_to_hold(tmp_path):
    wild.camvid_of_the_web(tmp_path)
    done = segtool("data", "check", f"folder:{tmp_path}")
    assert done.exit_code == 2
    assert f"(segtool data init {tmp_path} writes it: 12 images; masks are RGB with 3 colours)" in done.output
    with pytest.raises(SegtoolError, match="it holds COCO's JSON, as Roboflow writes it: coco:"):
        wild.coco_of_roboflow(tmp_path / "other")
        open_dataset(f"folder:{tmp_path / 'other'}", "train")


def test_what_cannot_be_told_is_asked(tmp_path):
    wild.two_folders(tmp_path)
    for i in range(wild.IMAGES):
        save(tmp_path / "labels" / f"{i:03d}.png", labels_of(i))
    done = segtool("data", "init", str(tmp_path))
    assert done.exit_code == 2
    assert "2 ways to read it: labels/{stem}, masks/{stem}" in done.output
    assert "say which: --images 'images/{stem}' --masks 'labels/{stem}'" in done.output
    assert not (tmp_path / "classes.yaml").exists()
    assert segtool("data", "init", str(tmp_path), "--masks", "masks/{stem}").exit_code == 0
    again = segtool("data", "init", str(tmp_path))
    assert again.exit_code == 2
    assert "there is one already" in again.output


def test_folders_that_hold_nothing_of_the_kind(tmp_path):
    with pytest.raises(SegtoolError, match="no images"):
        guess(tmp_path)
    photo(tmp_path / "a.png", 0)
    with pytest.raises(SegtoolError, match="no masks belong to the images"):
        guess(tmp_path)
    for i in range(3):
        photo(tmp_path / "images" / f"{i}.png", i)
        large = np.random.default_rng(i).integers(0, 256, (40, 40, 3), np.uint8)
        save(tmp_path / "masks" / f"{i}.png", large)
    with pytest.raises(SegtoolError, match="masks of more than 255 values look like pictures"):
        guess(tmp_path)


def test_split_writes_lists_that_stay(tmp_path):
    wild.films(tmp_path)
    text = "# mine\nclasses: [a, b, c]\nimages: 'rgb/{film}/{stem}'\nmasks: 'gt/{film}/{stem}'\n"
    (tmp_path / "classes.yaml").write_text(text)
    spec = f"folder:{tmp_path}"
    done = segtool("data", "split", spec, "--val", "0.3", "--test", "0.2", "--by", "folder")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "classes.yaml").read_text().startswith(text)
    names = {s: (tmp_path / "splits" / f"{s}.txt").read_text().split() for s in ("train", "val", "test")}
    assert sum(map(len, names.values())) == 12
    for split, listed in names.items():
        dataset = open_dataset(spec, split)
        assert [dataset.identifier(i) for i in range(len(dataset))] == listed
    assert "split: is there already" in segtool("data", "split", spec).output


def test_split_of_what_a_tool_wrote(tmp_path):
    wild.coco_of_roboflow(tmp_path)
    for i in range(1, 5):
        (tmp_path / "train" / f"{i}.jpg").write_bytes((tmp_path / "train" / "0.jpg").read_bytes())
    path = tmp_path / "train" / "_annotations.coco.json"
    image = '{"id": 0, "file_name": "0.jpg", "height": 10, "width": 14}'
    more = ", ".join(image.replace("0", str(i), 1).replace('"0.jpg', f'"{i}.jpg') for i in range(1, 5))
    path.write_text(path.read_text().replace(image, f"{image}, {more}"))
    done = segtool("data", "split", f"coco:{path}", "--by", "image")
    assert done.exit_code == 0, done.output
    assert len(open_dataset(f"coco:{path}", "val")) == 1
    assert [c.name for c in open_dataset(f"coco:{path}", "train").classes] == ["background", "thing", "car"]


@pytest.mark.parametrize("layout", [wild.nuclei, wild.ids_of_their_own, wild.coco_of_roboflow])
def test_convert_keeps_images_and_labels(tmp_path, layout):
    layout(tmp_path / "data")
    spec = spec_of(segtool("data", "init", str(tmp_path / "data")).output)
    done = segtool("data", "convert", spec, str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    for split in ("train", "val"):
        before, after = (open_dataset(s, split) for s in (spec, f"folder:{tmp_path / 'out'}"))
        assert [(c.name, c.color) for c in after.classes] == [(c.name, c.color) for c in before.classes]
        assert len(after) == len(before)
        names = {after.identifier(i): i for i in range(len(after))}
        for i in range(len(before)):
            old, new = before.load(i), after.load(names[before.identifier(i).replace("/", "_")])
            np.testing.assert_array_equal(old.image, new.image)
            np.testing.assert_array_equal(old.labels, new.labels)


def test_convert_writes_nothing_of_a_dataset_with_problems(tmp_path):
    wild.two_folders(tmp_path / "data")
    spec = spec_of(segtool("data", "init", str(tmp_path / "data")).output)
    for i in (1, 2):
        Image.fromarray(labels_of(0)[:5]).save(tmp_path / "data" / "masks" / f"{i:03d}.png")
    done = segtool("data", "convert", spec, str(tmp_path / "out"))
    assert done.exit_code == 2
    assert "2 times: mask of 5x14 for an image of 10x14" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    assert "there is something already" in segtool("data", "convert", spec, str(tmp_path / "out")).output
