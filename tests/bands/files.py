"""Image files of many bands, written with rasterio."""

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from segtool.data import open_dataset

PLACE = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 10, 10)}


def write_bands(path, bands, **options):
    """An array [H,W,B] as a GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, count = bands.shape
    about = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": bands.dtype}
    with rasterio.open(path, "w", **about, **PLACE, **options) as file:
        file.write(bands.transpose(2, 0, 1))
    return path


def five_bands(picture, seed=0):
    """Five bands of 12 bits, of which no three are the picture's."""
    x, noise = picture.astype(np.float32), np.random.default_rng(seed).normal(0, 30, picture.shape[:2])
    bands = [x[..., 2] * 4, x[..., 1] * 5 + 100, x[..., 0] * 6, x.mean(2) * 9 + noise, (255 - x[..., 1]) * 7]
    return np.clip(np.stack(bands, 2), 1, 4095).astype(np.uint16)


def folder_of_bands(root, make, bands="all", counts=(8, 3), side=64, **options):
    """A `folder` dataset of pictures made on the fly, each as the bands that `make` gives for it."""
    for split, count in zip(("train", "val"), counts, strict=True):
        dataset = open_dataset(f"synthetic:{side}", split)
        for i in range(count):
            image, labels = dataset.load(i)
            write_bands(root / split / "images" / f"{i}.tif", make(image, i), **options)
            (root / split / "masks").mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels).save(root / split / "masks" / f"{i}.png")
    names = ", ".join(c.name for c in dataset.classes)
    (root / "classes.yaml").write_text(f"classes: [{names}]\n" + (f"bands: {bands}\n" if bands else ""))
    return f"folder:{root}"
