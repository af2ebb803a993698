"""Nothing is taken for something else: images of other splits, labels of other names, masks that are inverted."""

import json

import numpy as np
import pytest
from PIL import Image

from segtool.data import open_dataset

from .annotated import SQUARE, H, W, photo, said
from .descriptions import TRUTH, describe, labels, refused, save
from .test_annotations import coco
from .test_annotations_of_others import labelme
from .test_guess import segtool


def coco_file(path, *names, category=(1, "car")):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": i, "file_name": name, "height": H, "width": W} for i, name in enumerate(names)]
    annotations = [{"id": i, "image_id": i, "category_id": 1, "segmentation": [SQUARE]} for i in range(len(names))]
    categories = [{"id": category[0], "name": category[1]}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def paths(spec, split):
    dataset = open_dataset(spec, split)
    return [dataset.image_path(i) for i in range(len(dataset))]


def test_images_of_one_name_in_two_splits(tmp_path):
    for split in ("train", "val"):
        photo(tmp_path / "images" / split / "f1.png")
        coco_file(tmp_path / "annotations" / f"instances_{split}.json", "f1.png")
    for split in ("train", "val"):
        assert paths(f"coco:{tmp_path}", split) == [tmp_path / "images" / split / "f1.png"]
    coco_file(tmp_path / "annotations" / "all.json", "f1.png")
    (line,) = said(f"coco:{tmp_path / 'annotations' / 'all.json'}")
    assert line.startswith("2 images have one name, in ")


def test_an_image_of_the_same_name_is_no_substitute(tmp_path):
    photo(tmp_path / "images" / "a" / "1.png")
    coco_file(tmp_path / "some.json", "a/1.png", "b/1.png")
    (line,) = said(f"coco:{tmp_path / 'some.json'}")
    assert line.startswith("a listed image is missing: b/1.png")
    coco_file(tmp_path / "some.json", "b/1.png")  # moved: it is the only one
    (tmp_path / "images" / "a" / "1.png").rename(tmp_path / "images" / "1.png")
    assert paths(f"coco:{tmp_path / 'some.json'}", "all") == [tmp_path / "images" / "1.png"]


def test_names_that_differ_in_their_suffix_alone(tmp_path):
    for name in ("0.png", "0.jpg", "1.png"):
        photo(tmp_path / name)
    coco_file(tmp_path / "some.json", "0.png", "0.jpg", "1.png")
    dataset = open_dataset(f"coco:{tmp_path / 'some.json'}", "all")
    assert [dataset.identifier(i) for i in range(3)] == ["0.png", "0.jpg", "1"]


@pytest.mark.parametrize("kind", ["coco", "labelme"])
def test_a_split_is_taken_out_of_the_only_folder(tmp_path, kind):
    names = [f"{i}.png" for i in range(10)]
    for name in names:
        photo(tmp_path / "train" / name)
    if kind == "coco":
        coco_file(tmp_path / "annotations" / "instances_train.json", *[f"train/{name}" for name in names])
    else:
        for name in names:
            points = np.reshape(SQUARE, (4, 2)).tolist()
            shapes = [{"label": "car", "points": points, "shape_type": "polygon"}]
            data = {"imagePath": name, "imageHeight": H, "imageWidth": W, "shapes": shapes}
            (tmp_path / "train" / name).with_suffix(".json").write_text(json.dumps(data))
    done = segtool("data", "split", f"{kind}:{tmp_path}", "--by", "image")
    assert done.exit_code == 0, done.output
    train, val = (set(paths(f"{kind}:{tmp_path}", split)) for split in ("train", "val"))
    assert (len(train), len(val), train & val) == (8, 2, set())


def test_splits_of_other_classes_are_not_converted(tmp_path):
    for split, name in (("train", "car"), ("val", "tree")):
        photo(tmp_path / "images" / split / f"{split}.png")
        coco_file(tmp_path / "annotations" / f"instances_{split}.json", f"{split}.png", category=(1, name))
    done = segtool("data", "convert", f"coco:{tmp_path}", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert "the splits have other classes: background, car; background, tree" in done.output


def test_labelme_has_the_labels_of_all_splits(tmp_path):
    points = np.reshape(SQUARE, (4, 2)).tolist()
    for split, label in (("train", "tree"), ("val", "car")):
        labelme(tmp_path / split, [{"label": label, "points": points, "shape_type": "polygon"}])
    for split, label in (("train", 2), ("val", 1)):
        dataset = open_dataset(f"labelme:{tmp_path}", split)
        assert [c.name for c in dataset.classes] == ["background", "car", "tree"]
        assert set(np.unique(dataset.load(0).labels)) == {0, label}


def test_ids_that_mean_nothing_are_refused(tmp_path):
    photo(tmp_path / "train/images/0.png")
    save(tmp_path / "train/masks/0.png", TRUTH)
    refused(describe(tmp_path, 'ids: {"0": car, "1": tree}'), "ids names the text '0', and masks hold no texts")
    refused(describe(tmp_path, "ids: {804: car}\nvalues: colors"), "ids names numbers, and values: says colors")
    refused(describe(tmp_path, "ids: {0: car, 1: tree, 0: ground}"), r"not valid YAML \(the key '0' is there twice\)")
    refused(describe(tmp_path, "ids: &a {0: car}\nsplit: *a"), r"not valid YAML \(aliases are not read\)")


def test_labels_of_tools_that_are_numbers(tmp_path):
    points = np.reshape(SQUARE, (4, 2)).tolist()
    spec = labelme(tmp_path, [{"label": "1", "points": points, "shape_type": "polygon"}])
    (tmp_path / "classes.yaml").write_text("classes: [ground, car]\nids: {1: car}\nelsewhere: ground\n")
    assert (open_dataset(spec, "all").load(0).labels == 1).sum() == 100


def test_binary_masks_of_several_classes_leave_the_rest_void(tmp_path):
    photo(tmp_path / "images/0.png")
    save(tmp_path / "masks/car/0.png", (TRUTH == 1).astype(np.uint8))
    Image.fromarray(np.zeros((*TRUTH.shape, 3), np.uint8)).save(tmp_path / "images/0.png")
    spec = describe(tmp_path, "images: 'images/{stem}'\nmasks: 'masks/{class}/{stem}'\nvalues: binary")
    np.testing.assert_array_equal(labels(spec, "all"), np.where(TRUTH == 1, 1, 255))


def binary_folder(root):
    (root / "classes.yaml").write_text("classes: [background, thing]\nvalues: binary\n")
    save(root / "train/images/0.png", np.zeros((40, 60, 3), np.uint8))
    truth = np.zeros((40, 60), bool)
    truth[10:20, 30:50] = True
    return truth, root / "train/masks/0.png"


@pytest.mark.parametrize("kind", ["inverted palette", "alpha", "colours", "smoothed", "one bit"])
def test_binary_masks_of_all_kinds(tmp_path, kind):
    truth, path = binary_folder(tmp_path)
    path.parent.mkdir()
    white = truth.astype(np.uint8) * 255
    if kind == "inverted palette":
        image = Image.fromarray((~truth).astype(np.uint8))
        image.putpalette([255, 255, 255, 0, 0, 0])
    elif kind == "alpha":
        image = Image.fromarray(np.dstack([np.full((40, 60, 3), 255, np.uint8), white]), "RGBA")
    elif kind == "colours":
        image = Image.fromarray(np.dstack([white // 2, white * 0, white]))
    elif kind == "smoothed":
        small = Image.fromarray(white).resize((240, 160), Image.Resampling.NEAREST)
        image = small.rotate(0.7, Image.Resampling.BICUBIC).resize((60, 40), Image.Resampling.BILINEAR)
        assert len(np.unique(np.asarray(image))) > 3
    else:
        image = Image.fromarray(truth)
    image.save(path)
    differs = labels(f"folder:{tmp_path}") != truth
    assert differs.mean() <= (0.01 if kind == "smoothed" else 0)


def test_ids_of_two_bits(tmp_path):
    """Pillow spreads them over 0..255: 3 would become 255, and void."""
    photo(tmp_path / "train/images/0.png")
    Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(tmp_path / "train/images/0.png")
    ids = np.arange(32).reshape(4, 8) % 4
    rows = b"".join(b"\0" + bytes(int("".join(f"{v:02b}" for v in row[i : i + 4]), 2) for i in (0, 4)) for row in ids)
    (tmp_path / "train/masks").mkdir()
    (tmp_path / "train/masks/0.png").write_bytes(png_of_two_bits(8, 4, rows))
    (tmp_path / "classes.yaml").write_text("classes: [a, b, c, d]\n")
    np.testing.assert_array_equal(labels(f"folder:{tmp_path}"), ids)


def png_of_two_bits(width, height, rows):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 2, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_categories_and_crowds_of_coco(tmp_path):
    categories = [{"id": 3, "name": "car"}, {"id": 7, "name": "tree"}, {"id": 3, "name": "dog"}]
    assert said(coco(tmp_path, [(3, [SQUARE])], categories=categories))[0].startswith("two categories have one id")
    (line,) = said(coco(tmp_path, [(3, [SQUARE]), (7, [SQUARE], True)]))
    assert line.startswith("a region of iscrowd 1 is void: some.json, annotation 1")
    (line,) = said(coco(tmp_path, []))
    assert line == "images without an annotation show background alone: some.json, 1 of 1 images"
    annotation = {"id": 0, "image_id": 1, "category_id": 3, "segmentation": [SQUARE], "iscrowd": "0"}
    assert said(coco(tmp_path, [], annotations=[annotation]))[0].startswith("iscrowd is '0': some.json, annotation 0")


def test_names_that_lead_out_of_the_folder_are_converted(tmp_path):
    photo(tmp_path / "data" / "images" / "a.png")
    coco_file(tmp_path / "data" / "annotations" / "some.json", "../images/a.png")
    spec = f"coco:{tmp_path / 'data' / 'annotations' / 'some.json'}"
    done = segtool("data", "convert", spec, str(tmp_path / "out"), "--split", "all")
    assert done.exit_code == 0, done.output
    assert [path.name for path in (tmp_path / "out/all/images").iterdir()] == ["images_a.png"]


def test_lists_lie_where_they_are_looked_for(tmp_path):
    for i in range(6):
        save(tmp_path / "data" / "images" / f"{i}.png", np.full((4, 4, 3), i, np.uint8))
        save(tmp_path / "data" / "masks" / f"{i}.png", np.zeros((4, 4), np.uint8))
    layout = "root: data\nimages: 'images/{stem}'\nmasks: 'masks/{stem}'\n"
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(f"classes: [x, y]\n{layout}")
    spec = f"folder:{tmp_path / 'a.yaml'}"
    assert segtool("data", "split", spec, "--by", "image").exit_code == 0
    assert len(open_dataset(spec, "train")) == 5
    other = segtool("data", "split", f"folder:{tmp_path / 'b.yaml'}", "--by", "image", "--seed", "3")
    assert other.exit_code == 2
    assert "there is a list already" in other.output
    flow = "{classes: [x, y], root: data, images: 'images/{stem}', masks: 'masks/{stem}'}"
    (tmp_path / "c.yaml").write_text(flow)
    done = segtool("data", "split", f"folder:{tmp_path / 'c.yaml'}", "--by", "image")
    assert "split: cannot be added to the file" in done.output
    assert (tmp_path / "c.yaml").read_text() == flow
