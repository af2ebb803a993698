"""Makes photograph.jpg of the README: coarse labels of a photograph, and what the dense CRF makes of them.

    python docs/photograph.py

The photograph comes with scikit-learn (danielbuechele, CC BY 2.0). The labels are drawn by hand, as coarse as those
of a network whose logits have a thirty-second of the image's resolution.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image

from segtool.crf.native import mean_field
from segtool.drawing import overlay, save_image

COLORS = [(70, 130, 180), (0, 170, 200), (200, 40, 60), (80, 150, 40)]  # sky, water, tower, trees
WATER = [(0, 210), (640, 210), (640, 427), (0, 427)]
TOWER = [(205, 20), (330, 130), (350, 250), (375, 345), (300, 427), (250, 427), (70, 345), (55, 260), (90, 120)]
TREES = [
    [(0, 140), (70, 220), (90, 330), (200, 345), (310, 427), (0, 427)],
    [(330, 427), (350, 340), (480, 285), (550, 270), (550, 210), (600, 135), (640, 150), (640, 427)],
]
STRIDE, SURENESS = 32, 3.0


def coarse_logits(height: int, width: int) -> np.ndarray:
    """Float32 [C,H,W], blurred as by upsampling from a grid of STRIDE pixels."""
    drawing = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(drawing)
    for label, shape in ((1, WATER), (2, TOWER), *((3, tree) for tree in TREES)):
        pen.polygon(shape, fill=label)
    drawn = np.array(drawing)
    planes = []
    for label in range(len(COLORS)):
        plane = Image.fromarray((drawn == label).astype(np.float32))
        small = plane.resize((width // STRIDE, height // STRIDE), Image.Resampling.BOX)
        planes.append(np.array(small.resize((width, height), Image.Resampling.BILINEAR)))
    return SURENESS * np.stack(planes).astype(np.float32)


def main() -> None:
    photograph = load_sample_image("china.jpg")
    logits = coarse_logits(*photograph.shape[:2])
    spatial, bilateral = (weight * np.eye(len(COLORS), dtype=np.float32) for weight in (1.0, 4.0))
    levels = photograph.transpose(2, 0, 1)[None].astype(np.float32)
    q = mean_field(logits[None], levels, (2.0, 60.0, 10.0), (spatial, bilateral), iterations=10)
    labels = [scores.argmax(0).astype(np.uint8) for scores in (logits, q[0])]
    pictures = [photograph, *(overlay(photograph, one, COLORS, 0.6) for one in labels)]
    gap = np.full((photograph.shape[0], 8, 3), 255, np.uint8)
    row = np.concatenate([pictures[0], gap, pictures[1], gap, pictures[2]], axis=1)
    height, width = row.shape[:2]
    small = Image.fromarray(row).resize((1280, round(1280 * height / width)), Image.Resampling.LANCZOS)
    save_image(Path(__file__).with_name("photograph.jpg"), np.array(small))


if __name__ == "__main__":
    main()
