"""Data as people have them, from the folder to the exported file: colours, polygons, grey images, many bands."""

import json

import numpy as np
import pytest
from PIL import Image

from segtool.data import open_dataset
from segtool.data.polygons import Drawing, pieces, write_polygons
from segtool.drawing import colorize

from ..bands.files import five_bands, folder_of_bands
from ..command_line import segtool
from ..conftest import TINY


def samples(split, count):
    dataset = open_dataset("synthetic:64", split)
    return dataset.classes, [dataset.load(i) for i in range(count)]


def colours(root):
    """Masks in colours, which `data init` describes."""
    for split, count in (("train", 8), ("val", 3)):
        classes, found = samples(split, count)
        for i, (image, labels) in enumerate(found):
            for part, pixels in (("images", image), ("masks", colorize(labels, [c.color for c in classes]))):
                path = root / split / part / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    assert segtool("data", "init", root, cwd=root).returncode == 0
    return f"folder:{root}"


def polygons(root):
    """COCO's JSON of each split."""
    for split, count in (("train", 8), ("val", 3)):
        classes, found = samples(split, count)
        drawings = []
        for i, (image, labels) in enumerate(found):
            path = root / split / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
            drawings.append(
                Drawing(path, path.name, root / f"{i}", labels.shape, pieces(labels, range(1, len(classes))))
            )
        write_polygons("coco", root / split, drawings, classes)
        (root / split / "annotations.json").rename(root / split / "_annotations.coco.json")
    return f"coco:{root}"


def grey(root):
    """One band of 8 bits, with masks of 16."""
    for split, count in (("train", 8), ("val", 3)):
        classes, found = samples(split, count)
        for i, (image, labels) in enumerate(found):
            for part, pixels in (("images", np.asarray(Image.fromarray(image).convert("L"))), ("masks", labels)):
                path = root / split / part / f"{i}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels if part == "images" else pixels.astype(np.uint16) * 1000).save(path)
    names = [c.name for c in classes]
    ids = "".join(f"  {1000 * i}: {name}\n" for i, name in enumerate(names))
    (root / "classes.yaml").write_text(f"classes: [{', '.join(names)}]\nids:\n{ids}")
    return f"folder:{root}"


def sixteen_bits(root):
    """Five bands of 16 bits, in a part of which there are no data."""

    def bands(picture, i):
        found = five_bands(picture, i)
        found[:5, :8] = 0
        return found

    return folder_of_bands(root, bands, nodata=0)


def one_band(root):
    """One band of 8 bits, which the network sees as one."""
    return folder_of_bands(root, lambda picture, i: picture.mean(2, keepdims=True).astype(np.uint8), "[1]")


def floating(root):
    """Three of four floating-point bands with gaps, in another order than they have."""

    def bands(picture, i):
        found = np.concatenate([picture, picture[..., :1]], 2) / np.float32(1000)
        found[::9, 3], found[:4, :4] = np.nan, np.nan
        return found

    return folder_of_bands(root, bands, "[4, 2, 1]")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [colours, polygons, grey, sixteen_bits, one_band, floating], ids=lambda kind: kind.__name__
)
def test_from_the_folder_to_the_exported_file(tmp_path, kind):
    (tmp_path / "data").mkdir()
    spec = kind(tmp_path / "data")
    settings = [option for setting in TINY for option in ("--set", setting)]
    train = segtool("train", "--preset", "quickstart", "--data", spec, "--out", "run", *settings, cwd=tmp_path)
    assert train.returncode == 0, train.stderr
    export = segtool("export", "run", cwd=tmp_path)
    assert export.returncode == 0, export.stderr
    verify = segtool("verify", "run", "run/model.onnx", "--data", spec, cwd=tmp_path)
    assert verify.returncode == 0, verify.stdout + verify.stderr
    evaluated = segtool("eval", "run/model.onnx", "--data", spec, "--out", "eval", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    records = json.loads((tmp_path / "run" / "model.parity.json").read_text())
    assert [record["label_agreement"] for record in records] == [1, 1]
