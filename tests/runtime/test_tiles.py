"""Tiles are stitched without seams."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import maximum_filter

from segtool.errors import SegtoolError
from segtool.prediction import Prediction
from segtool.runtime import Tiles, load, predict_tiled
from segtool.windows import spans


def local(image):
    """A model whose answer at a pixel depends on what is at most three pixels away."""
    brightest = maximum_filter(image.sum(2, dtype=np.int32), 7, mode="constant")
    confidence = (brightest / 765).astype(np.float32)
    return Prediction((brightest > 600).astype(np.uint8), confidence, None, np.stack([confidence, 1 - confidence]))


@pytest.mark.parametrize("size", [(32, 32), (40, 33), (97, 131), (64, 200)])
@pytest.mark.parametrize("overlap", [6, 8, 20])
def test_a_local_model_gives_what_it_gives_of_the_whole_image(size, overlap):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    whole, tiled = local(image), predict_tiled(local, image, Tiles(32, 32, overlap))
    np.testing.assert_array_equal(tiled.labels, whole.labels)
    np.testing.assert_array_equal(tiled.confidence, whole.confidence)
    np.testing.assert_array_equal(tiled.probabilities, whole.probabilities)
    assert tiled.unary_labels is None


def test_too_little_overlap_shows():
    image = np.random.default_rng(0).integers(0, 256, (97, 131, 3)).astype(np.uint8)
    assert (predict_tiled(local, image, Tiles(32, 32, 0)).confidence != local(image).confidence).any()


@pytest.mark.parametrize("side", [1, 31, 32, 33, 56, 57, 200])
def test_every_pixel_comes_from_one_tile(side):
    found = spans(side, 32, 8)
    assert [span.first for span in found[1:]] == [span.last for span in found[:-1]]
    assert (found[0].first, found[-1].last) == (0, side)
    for span in found:
        assert 0 <= span.start <= span.first < span.last <= span.stop <= side
        assert span.stop - span.start == min(side, 32)


def test_overlap_as_large_as_the_tile_is_refused():
    with pytest.raises(SegtoolError, match="cannot overlap by 32"):
        predict_tiled(local, np.zeros((64, 64, 3), np.uint8), Tiles(32, 32, 32))


def test_a_real_model_in_tiles(tiny_onnx, photo):
    model = load(tiny_onnx)
    tiled, whole = predict_tiled(model, photo, Tiles(80, 96, 48)), model(photo)
    assert tiled.unary_labels.shape == tiled.labels.shape == photo.shape[:2]
    assert tiled.probabilities.shape == whole.probabilities.shape
    corner = model(photo[:80, :96].copy())
    np.testing.assert_array_equal(tiled.labels[:48, :65], corner.labels[:48, :65])  # up to the first seams
    one = predict_tiled(model, photo, Tiles(*photo.shape[:2], 8))
    np.testing.assert_array_equal(one.labels, whole.labels)


@pytest.mark.parametrize("size", [(40, 40), (40, 100), (100, 40), (5, 130), (97, 131)])
def test_a_model_of_one_size_takes_images_of_any_in_tiles(size):
    """A smaller image is continued by its mirror image, which the answer does not show."""

    class Fixed:
        backend = SimpleNamespace(size=(48, 64))

        def __call__(self, image):
            assert image.shape == (48, 64, 3)
            return local(image)

    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    tiled, whole = predict_tiled(Fixed(), image, Tiles(48, 64, 16)), local(image)
    assert tiled.labels.shape == size
    assert tiled.probabilities.shape == (2, *size)
    inside = slice(None, max(0, size[0] - 3)), slice(None, max(0, size[1] - 3))  # what sees no mirror image
    np.testing.assert_array_equal(tiled.confidence[inside], whole.confidence[inside])
