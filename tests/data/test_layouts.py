"""Datasets in their real layouts, written here as their makers distribute them."""

import numpy as np
import pytest

from segtool.data import open_dataset
from segtool.data.checks.inspection import Inspection, check_all
from segtool.data.contact_sheet import contact_sheet
from segtool.data.registry import _OPENERS
from segtool.data.statistics import statistics
from segtool.errors import SegtoolError

from .layouts import write_ade20k, write_cityscapes, write_mask, write_voc


@pytest.fixture
def voc(tmp_path):
    write_voc(tmp_path)
    return tmp_path


@pytest.fixture
def cityscapes(tmp_path):
    write_cityscapes(tmp_path)
    return tmp_path


@pytest.fixture
def ade20k(tmp_path):
    write_ade20k(tmp_path)
    return tmp_path


def test_voc(voc):
    train, val = open_dataset(f"voc:{voc}", "train"), open_dataset(f"voc:{voc}", "val")
    assert (len(train), len(val), len(train.classes), train.ignore_index) == (2, 1, 21, 255)
    assert train.identifier(1) == "2007_000039"
    assert sorted(np.unique(train.load(0).labels)) == [0, 15, 255]
    person = train.classes[15]
    assert (person.name, person.color) == ("person", (192, 128, 128))  # as the development kit draws it
    inside = open_dataset(f"voc:{voc / 'VOCdevkit' / 'VOC2012'}", "train")
    np.testing.assert_array_equal(inside.load(0).labels, train.load(0).labels)


def test_voc_is_what_torchvision_reads(voc):
    from torchvision.datasets import VOCSegmentation

    theirs, ours = VOCSegmentation(str(voc), image_set="train"), open_dataset(f"voc:{voc}", "train")
    assert len(theirs) == len(ours)
    for (image, mask), index in zip(theirs, range(len(ours)), strict=False):
        sample = ours.load(index)
        np.testing.assert_array_equal(sample.image, np.array(image.convert("RGB")))
        np.testing.assert_array_equal(sample.labels, np.array(mask))


def test_cityscapes_labels_are_training_ids(cityscapes):
    train = open_dataset(f"cityscapes:{cityscapes}", "train")
    assert [train.identifier(i) for i in range(2)] == [f"{c}/{c}_000000_000019" for c in ("aachen", "bochum")]
    labels = train.load(0).labels
    assert (labels[2, 3], labels[12, 3], labels[16, 3]) == (10, 18, 0)  # sky, bicycle, road
    assert (labels[5:10] == 255).all()
    assert (labels[19] == 255).all()
    assert (len(train.classes), train.classes[13].name, train.classes[13].color) == (19, "car", (0, 0, 142))


def test_cityscapes_ids_and_colours_are_torchvision_s(cityscapes):
    from torchvision.datasets import Cityscapes

    ids = [c.id for c in Cityscapes.classes if c.id >= 0]
    mask = cityscapes / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
    write_mask(mask, np.resize(np.array(ids), (20, 40)))
    dataset = open_dataset(f"cityscapes:{cityscapes}", "train")
    training = {c.id: c.train_id if 0 <= c.train_id < 255 else 255 for c in Cityscapes.classes}
    assert dataset.load(0).labels.ravel().tolist() == [training[i] for i in np.resize(np.array(ids), 800)]
    official = sorted((c for c in Cityscapes.classes if 0 <= c.train_id < 255), key=lambda c: c.train_id)
    assert [(c.name, c.color) for c in dataset.classes] == [(c.name, tuple(c.color)) for c in official]


def test_cityscapes_at_half_resolution(cityscapes):
    whole, half = (open_dataset(f"{name}:{cityscapes}", "val") for name in ("cityscapes", "cityscapes-half"))
    image, labels = half.load(0)
    assert (image.shape, labels.shape) == ((10, 20, 3), (10, 20))
    np.testing.assert_allclose(image, whole.load(0).image.reshape(10, 2, 20, 2, 3).mean((1, 3)), atol=1)
    assert set(np.unique(labels)) <= set(np.unique(whole.load(0).labels))


def test_ade20k(ade20k):
    for split in ("train", "val"):
        dataset = open_dataset(f"ade20k:{ade20k}", split)
        labels = dataset.load(0).labels
        assert (labels[0, 0], labels[1, 0], labels[2, 0], labels[5, 0]) == (255, 149, 12, 0)
    names = [c.name for c in dataset.classes]
    assert (len(names), names[0], names[12], names[149]) == (150, "wall", "person", "flag")


def test_ade20k_label_beyond_the_last_class(ade20k):
    write_mask(ade20k / "annotations/training/ADE_train_00000001.png", np.full((12, 20), 151))
    with pytest.raises(SegtoolError, match=r"values in a mask that are no class, 151 \(240 pixels\)"):
        open_dataset(f"ade20k:{ade20k}", "train").load(0)


@pytest.mark.parametrize("spec", ["voc", "cityscapes", "ade20k", "camvid"])
def test_a_folder_of_something_else_is_refused(spec, tmp_path):
    with pytest.raises(SegtoolError, match="no such"):
        open_dataset(f"{spec}:{tmp_path}", "train")
    with pytest.raises(SegtoolError, match="a path is needed"):
        open_dataset(spec, "train")


def test_all_problems_are_found(cityscapes):
    masks = cityscapes / "gtFine" / "train"
    (masks / "aachen" / "aachen_000000_000019_gtFine_labelIds.png").unlink()
    write_mask(masks / "bochum" / "bochum_000000_000019_gtFine_labelIds.png", np.zeros((20, 41)))
    dataset = open_dataset(f"cityscapes:{cityscapes}", "train", complete=False)
    missing, size = Inspection(dataset, training=True).problems
    assert (missing.what, missing.where) == ("an image has no mask", "aachen/aachen_000000_000019")
    assert size.what == "mask of 20x41 for an image of 20x40"
    with pytest.raises(SegtoolError, match="1 more problems"):
        check_all(dataset)
    with pytest.raises(SegtoolError, match="no mask"):
        open_dataset(f"cityscapes:{cityscapes}", "train")


def test_statistics_count_pixels(cityscapes):
    found = statistics(open_dataset(f"cityscapes:{cityscapes}", "train"))
    road, sky, bicycle = 2 * (9 * 40 - 32), 2 * 5 * 40, 2 * 32
    assert (found.pixels[0], found.pixels[10], found.pixels[18]) == (road, sky, bicycle)
    assert found.void == 2 * 6 * 40
    assert found.images.tolist() == [2 if i in (0, 10, 18) else 0 for i in range(19)]
    assert found.sizes == {(40, 20): 2}
    assert found.frequency.sum() == pytest.approx(1)


def test_contact_sheet_holds_images_above_labels(voc):
    dataset = open_dataset(f"voc:{voc}", "train")
    sheet = contact_sheet(dataset, 5, columns=3, width=20)
    assert sheet.shape == (24, 60, 3)
    np.testing.assert_array_equal(sheet[:12, 20:40], dataset.load(1).image)
    assert (sheet[:, 40:] == 255).all()


def test_a_dataset_of_one_s_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np\n"
        "from segtool.data import Sample, SegmentationDataset, register_dataset\n"
        "from segtool.data import named_classes\n"
        "@register_dataset('stripes')\n"
        "class Stripes(SegmentationDataset):\n"
        "    def __init__(self, root, split):\n"
        "        self.name, self.split, self.classes = 'stripes', split, named_classes(['a', 'b'])\n"
        "    def __len__(self): return 2\n"
        "    def identifier(self, index): return str(index)\n"
        "    def load(self, index): return Sample(np.zeros((4, 4, 3), np.uint8), np.eye(4, dtype=np.uint8))\n"
    )
    try:
        dataset = open_dataset(f"{file}:stripes", "train")
        assert statistics(dataset).pixels.tolist() == [24, 8]
    finally:
        _OPENERS.pop("stripes", None)


def test_a_file_of_one_s_own_that_fails_says_why(tmp_path):
    (tmp_path / "bad.py").write_text("import nothing_like_this\n")
    with pytest.raises(SegtoolError, match="No module named 'nothing_like_this'"):
        open_dataset(f"{tmp_path / 'bad.py'}:x", "train")
    with pytest.raises(SegtoolError, match="no such file"):
        open_dataset(f"{tmp_path / 'none.py'}:x", "train")
