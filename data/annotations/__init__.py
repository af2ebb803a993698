"""What annotation tools write, read as it is: COCO, YOLO, labelme, CVAT, Label Studio.

Each tool's module gives a `Source`: images with labelled shapes, `shapes` says what those are, `dataset` paints them.
"""

from segtool.data.annotations import coco, cvat, labelme, labelstudio, yolo

__all__ = ["coco", "cvat", "labelme", "labelstudio", "yolo"]
