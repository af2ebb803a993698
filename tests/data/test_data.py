"""Datasets on disk, good and bad; the synthetic one; augmentation."""

import numpy as np
import pytest
from PIL import Image

from segtool.data import open_dataset
from segtool.errors import SegtoolError
from segtool.train.augmentation import TrainingCrops, WholeImages
from segtool.train.config.settings import DataConfig


@pytest.fixture
def folder(tmp_path):
    """A folder dataset of three images 20x12 with classes ground and thing."""
    (tmp_path / "classes.yaml").write_text("classes: [ground, {name: thing, color: [9, 8, 7]}]\n")
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for part in ("images", "masks"):
            (tmp_path / split / part).mkdir(parents=True)
        for name in ("a", "b", "c"):
            image = random.integers(0, 256, (12, 20, 3), np.uint8)
            Image.fromarray(image).save(tmp_path / split / "images" / f"{name}.png")
            mask = np.zeros((12, 20), np.uint8)
            mask[3:9, 5:15] = 1
            mask[0] = 255
            Image.fromarray(mask).save(tmp_path / split / "masks" / f"{name}.png")
    return tmp_path


def test_folder_reads_what_was_written(folder):
    dataset = open_dataset(f"folder:{folder}", "train")
    assert len(dataset) == 3
    assert [c.name for c in dataset.classes] == ["ground", "thing"]
    assert dataset.classes[1].color == (9, 8, 7)
    image, labels = dataset.load(1)
    np.testing.assert_array_equal(image, np.array(Image.open(folder / "train/images/b.png")))
    assert sorted(np.unique(labels)) == [0, 1, 255]


def _mask(folder, array, name="b"):
    Image.fromarray(array).save(folder / f"train/masks/{name}.png")


def _first_error(folder):
    with pytest.raises(SegtoolError) as caught:
        dataset = open_dataset(f"folder:{folder}", "train")
        for i in range(len(dataset)):
            dataset.load(i)
    return str(caught.value)


def test_missing_folder(tmp_path):
    assert "no such folder" in _first_error(tmp_path / "nowhere")


def test_unknown_dataset_suggests_the_near_one():
    with pytest.raises(SegtoolError, match="did you mean camvid"):
        open_dataset("camvit:x", "train")


def test_mask_of_another_size(folder):
    _mask(folder, np.zeros((12, 21), np.uint8))
    assert "mask of 12x21 for an image of 12x20" in _first_error(folder)
    assert "b.png" in _first_error(folder)


def test_label_outside_the_classes(folder):
    _mask(folder, np.full((12, 20), 7, np.uint8))
    assert "label 7 in a mask; classes are 0..1, void is 255" in _first_error(folder)


def test_colour_mask(folder):
    _mask(folder, np.zeros((12, 20, 3), np.uint8))
    assert "class ids" in _first_error(folder)


def test_missing_mask(folder):
    (folder / "train/masks/b.png").unlink()
    assert "an image has no mask: b" in _first_error(folder)


def test_truncated_image(folder):
    path = folder / "train/images/b.png"
    path.write_bytes(path.read_bytes()[:200])
    assert "unreadable image" in _first_error(folder)


def test_not_an_image(folder):
    (folder / "train/images/b.png").write_text("hello")
    assert "not an image" in _first_error(folder)


def test_empty_split(folder):
    for path in (folder / "val/images").iterdir():
        path.unlink()
    with pytest.raises(SegtoolError, match="the val split is empty"):
        open_dataset(f"folder:{folder}", "val")


@pytest.mark.parametrize("text", ["", "classes: 3", "classes: [{color: [1, 2, 3]}]", "[: bad"])
def test_bad_classes_file_shows_a_good_one(folder, text):
    (folder / "classes.yaml").write_text(text)
    assert "write one such as" in _first_error(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("classes: [a, a]", "2 classes are called a"),
        ("classes: [a, {id: 7, name: b}]", "class b has the id 7, and is number 1"),
        (
            "classes: [a, {name: b, color: [300, 0, 0]}]",
            r"the color of class 1, b, is \[300, 0, 0\], not three",
        ),
        ("classes: [a, {name: b, color: red}]", "the color of class 1, b, is 'red', not three numbers"),
        ("classes: [a, {name: b, colour: [1, 2, 3]}]", "class 1 is not a name or a name with a color"),
        ("classes:\n- a\n- [b\n", "not valid YAML: .*classes.yaml, line 4"),
        ("classes: [a, b]\nignore_index: void", "ignore_index is not a number"),
        ("classes: [a, b]\nignore_index: 1", r"ignore_index is 1: .*2\.\.255"),
        ("classes: [a, b]\nignore_index: 256", "ignore_index is 256"),
    ],
)
def test_classes_that_cannot_be_told_apart(folder, text, said):
    (folder / "classes.yaml").write_text(text)
    with pytest.raises(SegtoolError, match=said):
        open_dataset(f"folder:{folder}", "train", complete=False)


def test_a_classes_file_that_is_not_utf_8(folder):
    (folder / "classes.yaml").write_bytes("classes: [straße, himmel]".encode("latin-1"))
    with pytest.raises(SegtoolError, match=r"not UTF-8: .*classes.yaml, byte 14 \(save it as UTF-8"):
        open_dataset(f"folder:{folder}", "train", complete=False)


def test_camvid_as_distributed(shared):
    train, val = (open_dataset(f"camvid:{shared / 'camvid'}", split) for split in ("train", "val"))
    assert (len(train), len(val), len(train.classes)) == (367, 101, 11)
    image, labels = val.load(0)
    assert image.shape == (360, 480, 3)
    assert set(np.unique(labels)) <= {*range(11), 255}


def test_synthetic_is_deterministic_and_its_splits_differ():
    first, again, val = (open_dataset("synthetic", s).load(3) for s in ("train", "train", "val"))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.image != val.image).any()


def test_synthetic_colours_do_not_give_the_labels_away():
    """Single pixels tell classes apart badly: the nearest mean colour is wrong on many of them."""
    dataset = open_dataset("synthetic", "train")
    samples = [dataset.load(i) for i in range(20)]
    pixels = np.concatenate([s.image.reshape(-1, 3) for s in samples]).astype(float)
    labels = np.concatenate([s.labels.ravel() for s in samples])
    means = np.stack([pixels[labels == c].mean(0) for c in range(5)])
    nearest = ((pixels[:, None] - means) ** 2).sum(2).argmin(1)
    accuracy = np.mean([(nearest[labels == c] == c).mean() for c in range(5)])
    assert 0.4 < accuracy < 0.85


def test_crops_move_image_and_mask_together(folder):
    """The thing is painted into the image, so the mask can be read off it after any augmentation."""
    for name in ("a", "b", "c"):
        mask = np.array(Image.open(folder / f"train/masks/{name}.png"))
        mask[0] = 0
        Image.fromarray(mask).save(folder / f"train/masks/{name}.png")
        Image.fromarray((mask * 255)[..., None].repeat(3, 2)).save(folder / f"train/images/{name}.png")
    dataset = open_dataset(f"folder:{folder}", "train")
    crops = TrainingCrops(dataset, DataConfig(crop=(48, 80), scale=(4.0, 4.0), color_jitter=0.0))
    for i in range(12):
        image, labels = crops[i]  # three images in four epochs
        assert image.shape == (3, 48, 80)
        assert ((image[0] > 127) == (labels == 1)).float().mean() > 0.93


def test_small_images_are_padded_with_void(folder):
    crops = TrainingCrops(open_dataset(f"folder:{folder}", "train"), DataConfig(crop=(64, 64), scale=(1.0, 1.0)))
    image, labels = crops[0]
    assert image.shape == (3, 64, 64)
    assert (labels == 255).float().mean() > 0.9
    assert float(image.min()) >= 0
    assert float(image.max()) <= 255


def test_even_choice_for_validation():
    chosen = WholeImages(open_dataset("synthetic:32", "val"), limit=4)
    assert len(chosen) == 4
    assert chosen._indices == [0, 10, 20, 30]
