"""Whatever resizes images with labels, or logits, leaves a border where it is: measured on straight borders."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision import tv_tensors

from segtool.card import ClassInfo
from segtool.data.base import Sample, SegmentationDataset
from segtool.data.reduced import Reduced
from segtool.train.augmentation import augmentation
from segtool.train.config.settings import DataConfig
from segtool.train.config.views import Views
from segtool.train.networks.adapted import Adapted
from segtool.train.views import view_logits

SIDE, MIDDLE = 128, slice(40, 88)


def halves(border, axis):
    """Black and white, labelled 0 and 1, up to a column (axis 1) or row (axis 0)."""
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[(slice(None),) * axis + (slice(border, None),)] = 1
    return Sample(np.repeat(255 * labels[..., None], 3, 2), labels)


def white_area(values):
    return float(np.asarray(values, np.float64)[MIDDLE, MIDDLE].mean())


def shifts(pairs):
    """By how many pixels borders of labels lie beyond those of images, on the mean."""
    sizes = np.array([(white_area(image), white_area(labels)) for image, labels in pairs])
    crossed = (sizes.min(1) > 0.05) & (sizes.max(1) < 0.95)
    assert crossed.sum() > 30
    return (MIDDLE.stop - MIDDLE.start) * (sizes[crossed, 0] - sizes[crossed, 1]).mean()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("settings", [{"scale": (0.5, 2.0)}, {"scale": (1.0, 1.0), "rotate": 5.0}])
def test_masks_lie_on_their_images_in_training_crops(settings, axis):
    config = DataConfig(crop=(SIDE, SIDE), color_jitter=0.0, **settings)
    transform, pairs = augmentation(config, 255), []
    for seed in range(300):
        torch.manual_seed(seed)
        image, labels = halves(50 + seed % 30, axis)
        crop = transform(tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)), tv_tensors.Mask(labels))
        if (crop[1][MIDDLE, MIDDLE] != 255).all():
            pairs.append((crop[0][0] / 255, crop[1] == 1))
    assert abs(shifts(pairs)) < 0.06  # with torchvision's own rule 0.4 and more


class Borders(SegmentationDataset):
    """Borders at every place."""

    name, split, ignore_index = "borders", "train", 255
    classes = (ClassInfo(id=0, name="a", color=(0, 0, 0)), ClassInfo(id=1, name="b", color=(1, 1, 1)))

    def __init__(self, axis):
        self.axis = axis

    def __len__(self):
        return SIDE

    def identifier(self, index):
        return str(index)

    def load(self, index):
        return halves(index, self.axis)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("factor", [2, 4])
def test_masks_lie_on_their_images_at_a_fraction_of_the_resolution(factor, axis):
    half = Reduced(Borders(axis), "half", factor)
    pairs = [half.load(i) for i in range(SIDE)]
    image = np.mean([sample.image[..., 0] / 255 for sample in pairs])
    labels = np.mean([sample.labels for sample in pairs])
    assert abs(image - labels) * SIDE / factor < 0.05  # the same pixel in all squares: 0.25 and 0.12


class Brightness(torch.nn.Module):
    """A network whose logits are the image's."""

    def forward(self, x):
        return torch.cat([127.5 - x[:, :1], x[:, :1] - 127.5], 1)


@pytest.mark.parametrize(
    "see",
    [
        pytest.param(lambda x: Adapted(Brightness(), (96, 112))(x), id="fixed size"),
        pytest.param(lambda x: view_logits(Brightness(), x, Views(scales=(0.75,))), id="smaller view"),
        pytest.param(lambda x: view_logits(Brightness(), x, Views(scales=(1.5,), flip=True)), id="larger and mirrored"),
        pytest.param(lambda x: view_logits(Brightness(), x, Views(50, 30)), id="windows"),
        pytest.param(lambda x: F.interpolate(Brightness()(x), scale_factor=1.0), id="as it is"),
    ],
)
def test_logits_come_back_where_they_were(see):
    pairs = []
    for border in range(45, 83):
        image, labels = halves(border, 1)
        logits = see(torch.from_numpy(image).permute(2, 0, 1)[None].float())
        pairs.append((labels, logits.argmax(1)[0]))
    assert abs(shifts(pairs)) < 0.06
