"""Ten layouts as they are found in the wild, each with the labels of its first image."""

import json

import numpy as np
from PIL import Image

IMAGES = 6
COLORS = np.array([[0, 0, 0], [128, 64, 128], [0, 0, 142]], np.uint8)


def labels_of(number, classes=3):
    found = np.zeros((10, 14), np.uint8)
    found[2:7, 2 + number % 4 : 9] = 1
    if classes == 3:
        found[5:9, 8:13] = 2
    return found


def photo(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (10, 14, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def two_folders(root):
    """images/, masks/: the commonest of all."""
    for i in range(IMAGES):
        photo(root / "images" / f"{i:03d}.jpg", i)
        save(root / "masks" / f"{i:03d}.png", labels_of(i))
    return labels_of(0)


def camvid_of_the_web(root):
    """train/, train_labels/ with colours, names ending in _L, and a table of colours."""
    for split in ("train", "val"):
        for i in range(IMAGES):
            photo(root / split / f"seq_{i}.png", i)
            save(root / f"{split}_labels" / f"seq_{i}_L.png", COLORS[labels_of(i)])
    (root / "class_dict.csv").write_text("name,r,g,b\nVoid,0,0,0\nRoad,128,64,128\nCar,0,0,142\n")
    return labels_of(0) - np.uint8(1)  # Void is void


def carvana(root):
    """train/, train_masks/*_mask.gif of 0 and 255."""
    for i in range(IMAGES):
        photo(root / "imgs" / f"car_{i}.jpg", i)
        save(root / "masks" / f"car_{i}_mask.gif", labels_of(i, 2) * 255)
    return labels_of(0, 2)


def nuclei(root):
    """A folder for each image, a mask for each nucleus."""
    for i in range(IMAGES):
        photo(root / f"id{i}" / "images" / f"id{i}.png", i)
        for j, half in enumerate((slice(0, 4), slice(4, 10))):
            mask = np.zeros((10, 14), np.uint8)
            mask[half] = labels_of(i, 2)[half] * 255
            save(root / f"id{i}" / "masks" / f"{i}f{j}c.png", mask)
    return labels_of(0, 2)


def in_one_folder(root):
    """img.jpg beside img_mask.png."""
    for i in range(IMAGES):
        photo(root / f"img_{i:03d}.jpg", i)
        save(root / f"img_{i:03d}_mask.png", labels_of(i))
    return labels_of(0)


def other_names(root):
    """images/train/image_1.jpg with labels/train/label_1.png, and val."""
    for split in ("train", "val"):
        for i in range(IMAGES):
            photo(root / "images" / split / f"image_{i}.jpg", i)
            save(root / "labels" / split / f"label_{i}.png", labels_of(i))
    return labels_of(0)


def ids_of_their_own(root):
    """Sixteen bits whose values are no ids; training and validation."""
    values = np.array([0, 700, 4242], np.uint16)
    for split in ("training", "validation"):
        for i in range(IMAGES):
            photo(root / split / "images" / f"{i}.png", i)
            save(root / split / "annotations" / f"{i}.png", values[labels_of(i)])
    return labels_of(0)


def a_folder_for_each_class(root):
    """masks/road/1.png, masks/car/1.png."""
    for i in range(IMAGES):
        photo(root / "images" / f"{i}.jpg", i)
        for name, label in (("car", 1), ("road", 2)):
            save(root / "masks" / name / f"{i}.png", (labels_of(i) == label).astype(np.uint8) * 255)
    return labels_of(0)


def voc_of_cvat(root):
    """JPEGImages, SegmentationClass, labelmap.txt, one list."""
    for i in range(IMAGES):
        photo(root / "JPEGImages" / f"{i}.jpg", i)
        save(root / "SegmentationClass" / f"{i}.png", COLORS[labels_of(i)])
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\ncar:0,0,142::\n"
    )
    return labels_of(0)


def films(root):
    """Folders of films on both sides: frames must not be parted."""
    for film in range(6):
        for i in range(2):
            photo(root / "rgb" / f"film{film}" / f"{i}.png", 10 * film + i)
            save(root / "gt" / f"film{film}" / f"{i}.png", labels_of(i))
    return labels_of(0)


def coco_of_roboflow(root):
    """train/_annotations.coco.json beside its images."""
    for split in ("train", "valid"):
        photo(root / split / "0.jpg", 0)
        data = {
            "images": [{"id": 0, "file_name": "0.jpg", "height": 10, "width": 14}],
            "categories": [{"id": 0, "name": "thing"}, {"id": 1, "name": "car"}],
            "annotations": [
                {"id": 0, "image_id": 0, "category_id": 1, "segmentation": [[2, 2, 9, 2, 9, 7, 2, 7]], "iscrowd": 0}
            ],
        }
        (root / split / "_annotations.coco.json").write_text(json.dumps(data))
    return labels_of(0, 2) * 2


LAYOUTS = (
    two_folders,
    camvid_of_the_web,
    carvana,
    nuclei,
    in_one_folder,
    other_names,
    ids_of_their_own,
    a_folder_for_each_class,
    voc_of_cvat,
    films,
    coco_of_roboflow,
)
