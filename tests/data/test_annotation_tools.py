"""Datasets that the annotation tools' own libraries wrote are read as those libraries draw them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from segtool.data import open_dataset
from segtool.data.checks.inspection import check_all

TOOLS = Path(__file__).parent / "tools"
PACKAGES = ["datumaro>=1.13", "supervision>=0.31", "labelme>=6.3", "label-studio-sdk>=2.1"]
ROOT = Path(__file__).parents[2]
NAMES = ["road", "car", "tree"]
COLORS = ((0, 0, 0), (128, 64, 128), (0, 0, 142), (107, 142, 35))  # of background and NAMES
BRUSHED = 6 * 23 - 2 * 5  # pixels of the mask in image c


@pytest.fixture(scope="module")
def written_now(tmp_path_factory):
    """What the tools that pip gives today write."""
    environment = ROOT / "build" / f"annotation-tools-{sys.version_info.major}.{sys.version_info.minor}"
    python = environment / "bin" / "python"
    if not (environment / "ready").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", *PACKAGES]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"needs {', '.join(PACKAGES)}, which pip cannot install: {done.stderr.strip()[-200:]}")
        (environment / "ready").touch()
    out = tmp_path_factory.mktemp("tools") / "made"
    done = subprocess.run([python, TOOLS / "write.py", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(params=["kept", pytest.param("now", marks=pytest.mark.slow)])
def made(request):
    """The folder that write.py fills: as it was kept here, and as it is written today."""
    return TOOLS / "made" if request.param == "kept" else request.getfixturevalue("written_now")


def truth_of(made, name, order):
    """The scene's labels, as ids in an order of the classes."""
    stored = np.array(Image.open(made / "truth" / f"{name}.png"))
    return np.array([0, *(1 + order.index(label) for label in NAMES)], np.uint8)[stored]


def near_borders(truth):
    """Where rasterisers may differ: beside pixels of another label, and of none, outside the image."""
    border = np.ones(truth.shape, bool)
    border[1:-1, 1:-1] = False
    border[:, 1:] |= truth[:, 1:] != truth[:, :-1]
    border[1:] |= truth[1:] != truth[:-1]
    return binary_dilation(border, np.ones((3, 3)), iterations=1)


def assert_drawn(labels, truth, share=0.9):
    assert labels.shape == truth.shape
    differs = labels != truth
    assert not (differs & ~near_borders(truth)).any()
    assert 1 - differs.mean() > share


@pytest.mark.parametrize(("name", "order"), [("coco", NAMES), ("cvat", NAMES), ("labelstudio", sorted(NAMES))])
def test_labels_are_what_was_drawn(made, tmp_path, name, order):
    spec = f"{name}:{made / name}"
    if name == "labelstudio":  # it knows no splits
        (tmp_path / "images").symlink_to(made / name / "images")
        (tmp_path / "export.json").write_bytes((made / name / "export.json").read_bytes())
        spec = f"{name}:{tmp_path / 'export.json'}"
    split = "all" if name == "labelstudio" else "val"
    dataset = open_dataset(spec, split)
    assert [c.name for c in dataset.classes] == ["background", *order]
    place = next(i for i in range(len(dataset)) if dataset.identifier(i) == "c")
    sample = dataset.load(place)
    truth = truth_of(made, "c", order)
    if name == "coco":  # for datumaro a mask without outline is a crowd
        truth[(sample.labels == 255) & (truth == 1 + NAMES.index("tree"))] = 255
        assert (truth == 255).sum() == BRUSHED
    assert_drawn(sample.labels, truth, 0.95)
    np.testing.assert_array_equal(sample.image, np.array(Image.open(made / "voc/JPEGImages/c.png").convert("RGB")))


def test_coco_is_what_pycocotools_reads(made):
    from pycocotools.coco import COCO

    theirs = COCO(str(made / "coco/annotations/instances_train.json"))
    dataset = open_dataset(f"coco:{made / 'coco'}", "train")
    labels = {dataset.identifier(i): dataset.load(i).labels for i in range(len(dataset))}
    for image in theirs.loadImgs(theirs.getImgIds()):
        annotations = theirs.loadAnns(theirs.getAnnIds(imgIds=image["id"]))
        truth = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in sorted(annotations, key=lambda a: -int(theirs.annToMask(a).sum(dtype=int))):
            truth[theirs.annToMask(annotation) > 0] = 255 if annotation["iscrowd"] else annotation["category_id"]
        np.testing.assert_array_equal(labels[Path(image["file_name"]).stem], truth)


def test_yolo_is_what_supervision_drew(made):
    dataset = open_dataset(f"yolo:{made / 'yolo'}", "train")
    assert [c.name for c in dataset.classes] == ["background", *NAMES]
    for index, name in enumerate(("a", "b")):
        assert_drawn(dataset.load(index).labels, np.array(Image.open(made / f"yolo/truth/{name}.png")))


def test_labelme_is_what_labelme_draws(made):
    dataset = open_dataset(f"labelme:{made / 'labelme'}", "train")
    assert [c.name for c in dataset.classes] == ["background", *sorted(NAMES)]
    for index, name in enumerate(("a", "b")):
        truth = np.array(Image.open(made / f"labelme/truth/{name}.png"))
        assert 255 in truth
        assert_drawn(dataset.load(index).labels, truth)


def test_cvat_s_masks_are_a_folder_of_colours(made, tmp_path):
    """What CVAT calls "Segmentation mask 1.1", which labelmap.txt describes."""
    classes = ", ".join(f"{{name: {n}, color: {list(c)}}}" for n, c in zip(("background", *NAMES), COLORS, strict=True))
    (tmp_path / "voc.yaml").write_text(
        f"classes: [{classes}]\nroot: {made / 'voc'}\nvalues: colors\n"
        "images: JPEGImages/{stem}\nmasks: SegmentationClass/{stem}.png\n"
        "split: {train: ImageSets/Segmentation/train.txt, val: ImageSets/Segmentation/val.txt}\n"
    )
    train, val = (open_dataset(f"folder:{tmp_path / 'voc.yaml'}", split) for split in ("train", "val"))
    assert (len(train), len(val)) == (2, 1)
    pixels = np.array(Image.open(made / "voc/SegmentationClass/c.png").convert("RGB"))
    np.testing.assert_array_equal(np.array([*COLORS])[val.load(0).labels], pixels)
    assert (val.load(0).labels == 3).sum() == BRUSHED  # datumaro draws masks alone


@pytest.mark.parametrize("name", ["coco", "cvat", "yolo", "labelme"])
def test_nothing_looks_wrong(made, name):
    check_all(*(open_dataset(f"{name}:{made / name}", split) for split in ("train", "val")))
