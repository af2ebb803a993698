"""Small datasets in the layouts in which their makers distribute them. `scale` makes the images larger."""

import zlib

import numpy as np
from PIL import Image

VOC = {"train": ("2007_000032", "2007_000039"), "val": ("2008_000008",)}
CITIES = (("train", "aachen"), ("train", "bochum"), ("val", "lindau"))


def random_of(path):
    """A generator of its own for each file name: what is written must not depend on the tests that ran before."""
    return np.random.default_rng(zlib.crc32(path.name.encode()))


def write_image(path, size=(20, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random_of(path).integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)


def write_mask(path, labels, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(labels, np.uint8))
    if mode == "P":
        image.putpalette(bytes(range(256)) * 3)
    image.save(path)


def write_pair(image, mask, labels, scale, mode="L"):
    """An image whose colours can be told from its labels, and the mask."""
    labels = np.kron(np.asarray(labels, np.uint8), np.ones((scale, scale), np.uint8))
    colors = np.stack([labels * 37, labels * 91 + 40, 255 - labels * 53], -1).astype(np.uint8)
    image.parent.mkdir(parents=True, exist_ok=True)
    noise = random_of(image).normal(0, 12, colors.shape)
    Image.fromarray(np.clip(colors + noise, 0, 255).astype(np.uint8)).save(image)
    write_mask(mask, labels, mode)


def write_voc(root, scale=1):
    root = root / "VOCdevkit" / "VOC2012"
    for name in (n for names in VOC.values() for n in names):
        labels = np.zeros((12, 20))
        labels[3:8, 4:12] = 15
        labels[2, 4:12] = 255
        pair = root / "JPEGImages" / f"{name}.jpg", root / "SegmentationClass" / f"{name}.png"
        write_pair(*pair, labels, scale, "P")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, names in VOC.items():
        (lists / f"{split}.txt").write_text("\n".join(names) + "\n")


def write_cityscapes(root, scale=1):
    for split, city in CITIES:
        name = f"{city}_000000_000019"
        labels = np.full((20, 40), 7)  # road
        labels[:5] = 23  # sky
        labels[5:8] = 0  # unlabeled
        labels[8:10] = 29  # caravan: not among the 19
        labels[10:14, :8] = 33  # bicycle
        labels[19] = 3  # out of roi
        masks = root / "gtFine" / split / city
        write_pair(
            root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png",
            masks / f"{name}_gtFine_labelIds.png",
            labels,
            scale,
        )
        write_mask(masks / f"{name}_gtFine_instanceIds.png", labels)


def write_ade20k(root, scale=1, images=1):
    for folder, prefix in (("training", "ADE_train"), ("validation", "ADE_val")):
        for i in range(images):
            name = f"{prefix}_{i + 1:08d}"
            labels = np.full((12, 20), 1)
            labels[0], labels[1], labels[2] = 0, 150, 13
            write_pair(
                root / "images" / folder / f"{name}.jpg", root / "annotations" / folder / f"{name}.png", labels, scale
            )


def write_folder(root, photo, images=2):
    """Two classes told apart by their brightness."""
    for split in ("train", "val"):
        for i in range(images):
            write_mask(root / split / "masks" / f"{i}.png", photo[..., 0] > 150)
            (root / split / "images").mkdir(exist_ok=True)
            Image.fromarray(photo).save(root / split / "images" / f"{i}.png")
    (root / "classes.yaml").write_text("classes: [dark, light]\n")
