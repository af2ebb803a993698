"""Polygons in the files that annotation tools import."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple
from xml.etree import ElementTree

import numpy as np
import yaml

from segtool.card import ClassInfo
from segtool.data.polygons.keyhole import keyholed
from segtool.data.polygons.pieces import Outline, Piece
from segtool.files import write_text

FormatName = Literal["coco", "yolo", "labelme", "cvat", "geojson"]
_DECIMALS = 2
_OF_ALL = {"coco": "annotations.json", "cvat": "annotations.xml"}
_EACH = {"labelme": ".json", "geojson": ".geojson"}
_YOLO = "data.yaml"


class Drawing(NamedTuple):
    """An image and its polygons.

    Attributes:
        image: the file.
        path: relative to the folder that was given, with slashes.
        target: where results of it go, without their endings.
        size: (height, width).
    """

    image: Path
    path: str
    target: Path
    size: tuple[int, int]
    pieces: Sequence[Piece]


def written_files(form: str, out: Path, targets: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The files that hold the polygons of all images, and those of each target."""
    if form in _OF_ALL:
        return [out / _OF_ALL[form]], []
    if form == "yolo":
        return [out / _YOLO], [out / "labels" / f"{target.relative_to(out)}.txt" for target in targets]
    return [], [target.with_name(f"{target.name}{_EACH[form]}") for target in targets]


def write_polygons(
    form: FormatName, out: Path, drawings: Iterable[Drawing], classes: Sequence[ClassInfo]
) -> list[Path]:
    """Writes the polygons of images; returns the files that hold them all, or what belongs to all.

    `coco`: OUT/annotations.json; `cvat`: OUT/annotations.xml; `yolo`: OUT/labels/NAME.txt and OUT/data.yaml; `labelme`:
    OUT/NAME.json; `geojson`: OUT/NAME.geojson, in pixels, y downwards.

    Raises:
        SegtoolError: a file cannot be written.
    """
    return FORMATS[form](out, drawings, classes)


def _coco(out: Path, drawings: Iterable[Drawing], classes: Sequence[ClassInfo]) -> list[Path]:
    """Category ids are class ids and 1: 0 is no category for many readers."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, drawing in enumerate(drawings, 1):
        height, width = drawing.size
        images.append({"id": number, "file_name": drawing.path, "height": height, "width": width})
        for piece in drawing.pieces:
            outline = _rounded(keyholed(piece))
            left, top = outline.min(0).tolist()
            right, bottom = outline.max(0).tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": piece.label + 1,
                    "segmentation": [outline.ravel().tolist()],
                    "area": piece.pixels,
                    "bbox": [left, top, round(right - left, _DECIMALS), round(bottom - top, _DECIMALS)],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": c.id + 1, "name": c.name, "supercategory": ""} for c in classes]
    path = out / _OF_ALL["coco"]
    write_text(path, json.dumps({"images": images, "categories": categories, "annotations": annotations}) + "\n")
    return [path]


def _yolo(out: Path, drawings: Iterable[Drawing], classes: Sequence[ClassInfo]) -> list[Path]:
    """Class numbers are class ids; coordinates are shares of width and height."""
    for drawing in drawings:
        height, width = drawing.size
        lines = []
        for piece in drawing.pieces:
            shares = keyholed(piece) / [width, height]
            lines.append(" ".join([str(piece.label), *(f"{share:.6g}" for share in shares.ravel())]))
        name = drawing.target.relative_to(out)
        write_text(out / "labels" / name.parent / f"{name.name}.txt", "".join(f"{line}\n" for line in lines))
    path = out / _YOLO
    if path.exists():  # by now it may name more than we know
        return []
    about = {"train": "images", "names": {c.id: c.name for c in classes}}
    write_text(path, yaml.safe_dump(about, sort_keys=False, allow_unicode=True))
    return [path]


def _labelme(out: Path, drawings: Iterable[Drawing], classes: Sequence[ClassInfo]) -> list[Path]:
    for drawing in drawings:
        path = drawing.target.with_name(f"{drawing.target.name}.json")
        shapes = [
            {
                "label": classes[piece.label].name,
                "points": _rounded(keyholed(piece)).tolist(),
                "group_id": None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for piece in drawing.pieces
        ]
        data: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": Path(os.path.relpath(drawing.image, path.parent)).as_posix(),
            "imageData": None,
            "imageHeight": drawing.size[0],
            "imageWidth": drawing.size[1],
        }
        write_text(path, json.dumps(data, indent=1) + "\n")
    return []


def _cvat(out: Path, drawings: Iterable[Drawing], classes: Sequence[ClassInfo]) -> list[Path]:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels")
    for info in classes:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = info.name
        ElementTree.SubElement(label, "color").text = "#" + bytes(info.color).hex()
    for number, drawing in enumerate(drawings):
        height, width = (str(side) for side in drawing.size)
        image = ElementTree.SubElement(root, "image", id=str(number), name=drawing.path, width=width, height=height)
        for piece in drawing.pieces:
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in keyholed(piece))
            about = {"label": classes[piece.label].name, "source": "auto", "occluded": "0", "z_order": "0"}
            ElementTree.SubElement(image, "polygon", {**about, "points": points})
    path = out / _OF_ALL["cvat"]
    ElementTree.indent(root)
    write_text(path, '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n")
    return [path]


def _geojson(out: Path, drawings: Iterable[Drawing], classes: Sequence[ClassInfo]) -> list[Path]:
    for drawing in drawings:
        features = [
            {
                "type": "Feature",
                "properties": {"class": classes[piece.label].name, "id": piece.label, "pixels": piece.pixels},
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [_ring(outline) for outline in (piece.outer, *piece.holes)],
                },
            }
            for piece in drawing.pieces
        ]
        path = drawing.target.with_name(f"{drawing.target.name}.geojson")
        write_text(path, json.dumps({"type": "FeatureCollection", "features": features}) + "\n")
    return []


def _ring(outline: Outline) -> list[list[float]]:
    return _rounded(np.concatenate([outline, outline[:1]])).tolist()


def _rounded(outline: Outline) -> Outline:
    return outline.round(_DECIMALS)


_Writer = Callable[[Path, Iterable[Drawing], Sequence[ClassInfo]], list[Path]]
FORMATS: dict[str, _Writer] = {
    "coco": _coco,
    "yolo": _yolo,
    "labelme": _labelme,
    "cvat": _cvat,
    "geojson": _geojson,
}
