"""Draws the pictures of docs/data.md: an image, what its label file holds, and the labels that segtool reads from it.

    python docs/data_pictures.py

Each kind is written to a temporary folder as its makers write it, and read through its spec.
"""

import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segtool.data import open_dataset
from segtool.data.polygons import Drawing, pieces, write_polygons
from segtool.drawing import colorize, overlay

HERE = Path(__file__).parent / "data"
SIDE = 160
Picture = NDArray[np.uint8]


def main() -> None:
    """Writes docs/data/KIND.png for each kind."""
    HERE.mkdir(exist_ok=True)
    for kind in (ids, colors, binary, each_class, polygons, brush, bands, synthetic):
        with tempfile.TemporaryDirectory() as folder:
            spec, stored = kind(Path(folder))
            dataset = open_dataset(spec, "train" if kind is synthetic else "all")
            sample = dataset.as_shown(dataset.load(0))
            read = overlay(sample.image, sample.labels, [c.color for c in dataset.classes], 0.7)
            gap = np.full((SIDE, 8, 3), 255, np.uint8)
            sheet = np.concatenate([sample.image, gap, stored, gap, read], 1)
            Image.fromarray(sheet).quantize(128).save(HERE / f"{kind.__name__}.png", optimize=True)


def source() -> tuple[Picture, NDArray[np.uint8], list[str], list[tuple[int, int, int]]]:
    """An image with labels, names and colours of its classes."""
    dataset = open_dataset(f"synthetic:{SIDE}", "train")
    sample = dataset.load(3)
    return sample.image, sample.labels, [c.name for c in dataset.classes], [c.color for c in dataset.classes]


def described(root: Path, text: str, classes: list[str] | None = None) -> str:
    """Writes images/0.png and a classes.yaml."""
    image, _, names, colors = source()
    (root / "images").mkdir()
    Image.fromarray(image).save(root / "images" / "0.png")
    listed = [{"name": n, "color": list(c)} for n, c in zip(names, colors, strict=True)] if classes is None else classes
    (root / "classes.yaml").write_text(f"classes: {json.dumps(listed)}\nimages: images/{{stem}}\n{text}\n")
    return f"folder:{root}"


def save(path: Path, pixels: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def grey(mask: Picture) -> Picture:
    return np.repeat(mask[..., None], 3, 2)


def ids(root: Path) -> tuple[str, Picture]:
    """Values of one channel: nearly black to look at."""
    labels = source()[1]
    save(root / "masks" / "0.png", labels)
    return described(root, "masks: masks/{stem}"), grey(labels)


def colors(root: Path) -> tuple[str, Picture]:
    _, labels, _, palette = source()
    drawn = colorize(labels, palette)
    save(root / "masks" / "0.png", drawn)
    return described(root, "masks: masks/{stem}\nvalues: colors"), drawn


def binary(root: Path) -> tuple[str, Picture]:
    mask = (source()[1] > 0).astype(np.uint8) * 255
    save(root / "masks" / "0.png", mask)
    return described(root, "masks: masks/{stem}\nvalues: binary", ["background", "thing"]), grey(mask)


def each_class(root: Path) -> tuple[str, Picture]:
    """One picture for each class, side by side."""
    _, labels, names, _ = source()
    masks = [(labels == i).astype(np.uint8) * 255 for i in range(len(names))]
    for name, mask in zip(names, masks, strict=True):
        save(root / "masks" / name / "0.png", mask)
    small = [np.asarray(Image.fromarray(mask).resize((SIDE // 2, SIDE // 2))) for mask in masks[:4]]
    sheet = np.concatenate([np.concatenate(small[:2], 1), np.concatenate(small[2:], 1)], 0)
    return described(root, "masks: masks/{class}/{stem}"), grey(sheet)


def polygons(root: Path) -> tuple[str, Picture]:
    image, labels, names, palette = source()
    Image.fromarray(image).save(root / "0.png")
    found = pieces(labels, range(1, len(names)), simplify=2, smallest=40)
    dataset = open_dataset(f"synthetic:{SIDE}", "train")
    write_polygons(
        "labelme", root, [Drawing(root / "0.png", "0.png", root / "0", labels.shape, found)], dataset.classes
    )
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(picture)
    for piece in found:
        outline = [tuple(point) for point in piece.outer.tolist()]
        pen.polygon(outline, outline=palette[piece.label], width=2)
        for x, y in outline:
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=palette[piece.label])
    return f"labelme:{root}", np.asarray(picture)


def brush(root: Path) -> tuple[str, Picture]:
    """A mask that COCO's JSON holds as run lengths."""
    image, labels, names, _ = source()
    Image.fromarray(image).save(root / "0.png")
    annotations = []
    for i in range(1, len(names)):
        flat = (labels == i).T.ravel()
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(int)]))).tolist()
        counts = np.diff([0, *edges, flat.size]).tolist()
        runs = {"size": [SIDE, SIDE], "counts": counts}
        annotations.append({"id": i, "image_id": 0, "category_id": i, "segmentation": runs, "iscrowd": 0})
    data = {
        "images": [{"id": 0, "file_name": "0.png", "height": SIDE, "width": SIDE}],
        "categories": [{"id": i, "name": names[i]} for i in range(1, len(names))],
        "annotations": annotations,
    }
    (root / "some.json").write_text(json.dumps(data))
    stripes = np.where((labels > 0) & (np.arange(SIDE) % 4 < 2), 90, 255).astype(np.uint8)
    return f"coco:{root / 'some.json'}", grey(stripes)


def bands(root: Path) -> tuple[str, Picture]:
    """Four bands of 12 bits in a file of 16, side by side: nearly black to look at."""
    image, labels, _, _ = source()
    stack = np.concatenate([image, 255 - image[..., :1]], 2).astype(np.uint16) * 16
    about = {"driver": "GTiff", "height": SIDE, "width": SIDE, "count": 4, "dtype": "uint16"}
    save(root / "masks" / "0.png", labels)
    spec = described(root, "masks: masks/{stem}\nbands: all")
    (root / "images" / "0.png").unlink()
    with warnings.catch_warnings(action="ignore"), rasterio.open(root / "images" / "0.tif", "w", **about) as file:
        file.write(stack.transpose(2, 0, 1))
    dark = (stack[::2, ::2] >> 8).astype(np.uint8)
    rows = (np.concatenate([dark[..., i], dark[..., i + 1]], 1) for i in (0, 2))
    return spec, grey(np.concatenate([*rows]))


def synthetic(root: Path) -> tuple[str, Picture]:
    """Labels in colours."""
    sample = open_dataset(f"synthetic:{SIDE}", "train").load(0)
    return f"synthetic:{SIDE}", colorize(sample.labels, source()[3])


Kind = Callable[[Path], tuple[str, Picture]]

if __name__ == "__main__":
    main()
