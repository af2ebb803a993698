"""The crops that the CRF learns from are cut out of what the model computes on whole images."""

import torch

from segtool.data import open_dataset
from segtool.train.checkpoint import load_segmenter
from segtool.train.stages.unary_crops import UnaryCrops


def _crops(tiny_run, size):
    segmenter, _ = load_segmenter(tiny_run)
    images = open_dataset("synthetic:64", "train")
    return UnaryCrops(images, segmenter, size), images.load(3), segmenter


def test_a_crop_lies_in_the_whole_images_logits(tiny_run):
    crops, sample, segmenter = _crops(tiny_run, (40, 24))
    logits, image, labels = crops[3]
    assert (logits.shape[1:], image.shape[1:], labels.shape) == ((40, 24), (40, 24), (40, 24))
    whole = torch.from_numpy(sample.image).permute(2, 0, 1).float()
    with torch.no_grad():
        expected = segmenter.unary(whole[None])[0]
    found = [(y, x) for y in range(25) for x in range(41) if torch.equal(whole[:, y : y + 40, x : x + 24], image)]
    assert len(found) == 1, "the image is not augmented"
    y, x = found[0]
    torch.testing.assert_close(expected[:, y : y + 40, x : x + 24], logits)
    assert torch.equal(torch.from_numpy(sample.labels)[y : y + 40, x : x + 24].long(), labels)
    assert not logits.requires_grad


def test_a_smaller_image_is_padded_with_void(tiny_run):
    crops, sample, _ = _crops(tiny_run, (100, 80))
    _, image, labels = crops[3]
    assert image.shape == (3, 100, 80)
    assert torch.equal(labels[:64, :64], torch.from_numpy(sample.labels).long())
    assert (labels[64:] == 255).all()
    assert (labels[:, 64:] == 255).all()
