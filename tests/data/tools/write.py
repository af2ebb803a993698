"""Writes one small scene with the libraries of the annotation tools themselves; run where those are installed.

    python write.py OUT

OUT/coco, OUT/cvat and OUT/voc come from datumaro (CVAT's own library of formats), OUT/yolo from supervision,
OUT/labelme from labelme, OUT/labelstudio from label-studio-sdk. OUT/*/truth holds labels as the tool draws them,
OUT/truth those of the scene that all share.
"""

import json
import sys
from pathlib import Path

import datumaro as dm
import labelme
import numpy as np
import supervision as sv
from label_studio_sdk.converter import brush
from labelme import utils
from PIL import Image

HEIGHT, WIDTH = 60, 80
LABELS = ["road", "car", "tree"]
SPLITS = {"a": "train", "b": "train", "c": "val"}


def star(x, y, radius, corners=7):
    """A polygon that is not convex."""
    angle = np.pi * np.arange(2 * corners) / corners
    reach = radius * np.where(np.arange(2 * corners) % 2, 0.45, 1.0)
    return np.round(np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], 1), 2)


def scene(number):
    """Label and polygon [K,2] of each shape, the large ones first."""
    road = np.array([[0, 40.5], [80, 30.25], [80, 60], [0, 60]])
    return [("road", road), ("tree", star(20 + 9 * number, 22, 17)), ("car", star(52 - 6 * number, 41, 10, 5))]


def picture(number):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows * 4, columns * 3, np.full_like(rows, 80 * number)], -1).astype(np.uint8)


def brushed(number):
    """A mask without outline, of a tree."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[3:9, 50 + number : 75] = 1
    mask[5:7, 60:65] = 0
    return mask


def write_truth(out):
    """The scene as labelme draws polygons, with Pillow; ids in the order of LABELS, from 1."""
    out.mkdir(parents=True)
    for number, name in enumerate(SPLITS):
        truth = np.zeros((HEIGHT, WIDTH), np.uint8)
        for label, polygon in scene(number):
            truth[utils.shape_to_mask((HEIGHT, WIDTH), polygon.tolist(), "polygon")] = LABELS.index(label) + 1
        truth[brushed(number) > 0] = LABELS.index("tree") + 1
        Image.fromarray(truth).save(out / f"{name}.png")


def with_datumaro(out):
    items = []
    for number, (name, split) in enumerate(SPLITS.items()):
        annotations = [
            dm.Polygon(p.ravel().tolist(), label=LABELS.index(label), z_order=z, id=10 * number + z + 1, group=z + 1)
            for z, (label, p) in enumerate(scene(number))
        ]
        annotations.append(dm.Mask(brushed(number), label=LABELS.index("tree"), z_order=9, id=10 * number + 9, group=9))
        image = dm.Image.from_numpy(picture(number)[..., ::-1], size=(HEIGHT, WIDTH))
        items.append(dm.DatasetItem(id=name, subset=split, media=image, annotations=annotations))
    dataset = dm.Dataset.from_iterable(items, categories=LABELS)
    dataset.export(out / "coco", "coco_instances", save_media=True, image_ext=".png")
    dataset.export(out / "cvat", "cvat", save_media=True, image_ext=".png")
    colors = {"background": (0, 0, 0), "road": (128, 64, 128), "car": (0, 0, 142), "tree": (107, 142, 35)}
    label_map = {label: [color, [], []] for label, color in colors.items()}
    dataset.export(out / "voc", "voc_segmentation", save_media=True, image_ext=".png", label_map=label_map)


def with_supervision(out):
    for number, (name, split) in enumerate(SPLITS.items()):
        shapes = scene(number)
        masks = np.stack([sv.polygon_to_mask(p.astype(int), (WIDTH, HEIGHT)) for _, p in shapes]).astype(bool)
        detections = sv.Detections(
            xyxy=sv.mask_to_xyxy(masks), mask=masks, class_id=np.array([LABELS.index(label) for label, _ in shapes])
        )
        path = f"{name}.png"
        dataset = sv.DetectionDataset(LABELS, {path: picture(number)[..., ::-1]}, {path: detections})
        places = (str(out / split / kind) for kind in ("images", "labels"))
        dataset.as_yolo(*places, data_yaml_path=str(out / "data.yaml"))
        truth = np.zeros((HEIGHT, WIDTH), np.uint8)
        for mask, label in zip(masks, detections.class_id, strict=True):
            truth[mask] = label + 1
        (out / "truth").mkdir(exist_ok=True)
        Image.fromarray(truth).save(out / "truth" / path)


def with_labelme(out):
    (out / "truth").mkdir(parents=True)
    for number, name in enumerate(SPLITS):
        folder = out / SPLITS[name]
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.png"
        Image.fromarray(picture(number)).save(path)
        drawn = [(label, p.tolist(), "polygon", None) for label, p in scene(number)]
        drawn.append(("car", [[5, 5], [14, 12]], "rectangle", None))
        drawn.append(("tree", [[70, 50], [75, 50]], "circle", None))
        part = brushed(number)[3:9, 50:75].astype(bool)
        drawn.append(("tree", [[50, 3], [74, 8]], "mask", part))
        drawn.append(("__ignore__", [[30, 1], [36, 1], [33, 9]], "polygon", None))
        shapes = [
            {"label": label, "points": points, "shape_type": kind, "mask": mask, "group_id": None, "flags": {}}
            for label, points, kind, mask in drawn
        ]
        ids = {"__ignore__": 255, "_background_": 0} | {label: i + 1 for i, label in enumerate(sorted(LABELS))}
        truth, _ = utils.shapes_to_label((HEIGHT, WIDTH), shapes, ids)
        Image.fromarray(truth.astype(np.uint8)).save(out / "truth" / f"{name}.png")
        stored = [
            {
                **s,
                "description": "",
                "mask": None if s["mask"] is None else utils.img_arr_to_b64(s["mask"].astype(np.uint8)),
            }
            for s in shapes
        ]
        labelme.LabelFile().save(
            filename=str(folder / f"{name}.json"),
            shapes=stored,
            image_path=path.name,
            image_height=HEIGHT,
            image_width=WIDTH,
            image_data=None,
            other_data={},
            flags={},
        )


def with_label_studio(out):
    (out / "images").mkdir(parents=True)
    tasks = []
    for number, name in enumerate(SPLITS):
        Image.fromarray(picture(number)).save(out / "images" / f"{name}.png")
        common = {
            "original_width": WIDTH,
            "original_height": HEIGHT,
            "image_rotation": 0,
            "from_name": "l",
            "to_name": "i",
        }
        results = [
            {
                **common,
                "type": "polygonlabels",
                "value": {"points": (p / [WIDTH, HEIGHT] * 100).tolist(), "closed": True, "polygonlabels": [label]},
            }
            for label, p in scene(number)
        ]
        rle = brush.mask2rle(brushed(number) * 255)
        value = {"format": "rle", "rle": [int(v) for v in rle], "brushlabels": ["tree"]}
        results.append({**common, "type": "brushlabels", "value": value})
        image = f"/data/upload/1/{number:08x}-{name}.png"
        tasks.append({"id": number, "data": {"image": image}, "annotations": [{"id": number, "result": results}]})
    (out / "export.json").write_text(json.dumps(tasks))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write_truth(target / "truth")
    with_datumaro(target)
    with_supervision(target / "yolo")
    with_labelme(target / "labelme")
    with_label_studio(target / "labelstudio")
