"""Scenes in which only something distant tells two look-alike classes apart, and a run that was trained on them."""

import json

import numpy as np
from PIL import Image

from segtool.train.config.presets import load_config
from segtool.train.config.stages import parse_stages
from segtool.train.stages.piecewise import PiecewiseTrainer

NAMES = ["land", "sea", "car", "boat"]
LOCAL = '''
from torch import nn


class Local(nn.Module):
    """Sees 5 pixels around each."""

    def __init__(self, classes):
        super().__init__()
        first, second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.backbone = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        self.segmentation_head = nn.Conv2d(16, classes, 1)

    def forward(self, x):
        return self.segmentation_head(self.backbone(x))


def factory(classes):
    return Local(classes)
'''


def scene(random):
    """Green land or blue sea at the bottom, and above it, on white, a grey square: a car over land, a boat over sea.

    Neither colour nor shape nor anything within 16 pixels of the square tells which it is.
    """
    kind = int(random.integers(2))
    image, labels = np.full((64, 96, 3), 255), np.full((64, 96), 255, np.uint8)
    image[44:], labels[44:] = ((40, 160, 60), (40, 60, 200))[kind], kind
    y, x = int(random.integers(0, 13)), int(random.integers(0, 80))
    image[y : y + 16, x : x + 16], labels[y : y + 16, x : x + 16] = 128, 2 + kind
    noise = random.normal(0, 6, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), labels


def write_scenes(root):
    """A folder dataset of scenes, and the file of a network that sees 5 pixels."""
    random = np.random.default_rng(0)
    for split, count in (("train", 32), ("val", 16)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            image, labels = scene(random)
            Image.fromarray(image).save(root / split / "images" / f"{number:02d}.png")
            Image.fromarray(labels).save(root / split / "masks" / f"{number:02d}.png")
    (root / "classes.yaml").write_text(json.dumps({"classes": NAMES}))
    (root / "local.py").write_text(LOCAL)


def train_on_scenes(scenes, out):
    """A run of stages unary, context and crf."""
    settings = [
        f"model={{source: 'python:{scenes / 'local.py'}:factory'}}", "data.crop=[64, 96]", "data.scale=[1.0, 1.0]",
        "data.color_jitter=0", "unary.epochs=12", "unary.validate_every=12", "unary.learning_rate=0.01",
        "context.epochs=24", "context.validate_every=12", "context.radii=[2, 4, 6]", "context.hidden=16",
        "context.tables=4", "crf.epochs=2", "crf.crop=[64, 96]", "crf.search_images=4", "report.write=false",
    ]  # fmt: skip
    config, stages = load_config("quickstart", settings), parse_stages("unary,context,crf")
    PiecewiseTrainer(config, f"folder:{scenes}", out, stages, report=lambda line: None).run()
