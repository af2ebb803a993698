"""Windows and augmented views against what they must be by definition."""

import pytest
import torch

from segtool.errors import SegtoolError
from segtool.train.config.views import Views, parse_views
from segtool.train.views import view_logits

IMAGE = torch.rand(1, 3, 61, 83, generator=torch.Generator().manual_seed(0)) * 255


def pixelwise(image):
    """A network that looks at single pixels: windows and mirrors cannot change what it says."""
    return torch.stack([image[:, 0] - image[:, 1], image[:, 2] / 2, image.mean(1)], 1) / 50


def placed(image):
    """A network that says where in what it was shown a pixel lies."""
    x = torch.linspace(-2, 2, image.shape[3]).expand(image.shape[0], image.shape[2], -1)
    return torch.stack([x, -x], 1)


@pytest.mark.parametrize(
    "views", [Views(32, 21), Views(32, 32), Views(200, 100), Views(flip=True), Views(40, 7, flip=True)]
)
def test_a_network_of_single_pixels_sees_the_same_in_every_view(views):
    seen = view_logits(pixelwise, IMAGE, views).softmax(1)
    torch.testing.assert_close(seen, pixelwise(IMAGE).softmax(1), rtol=1e-4, atol=1e-5)


def test_one_window_that_holds_the_image_is_no_view():
    assert torch.equal(view_logits(placed, IMAGE, Views(200, 100)), placed(IMAGE))


def test_every_window_has_the_size_asked_for_and_all_pixels_are_seen():
    sizes = []

    def network(image):
        sizes.append(tuple(image.shape[2:]))
        return pixelwise(image)

    assert view_logits(network, IMAGE, Views(32, 24)).isfinite().all()
    assert set(sizes) == {(32, 32)}
    assert len(sizes) == 3 * 4  # rows at 0, 24, 29; columns at 0, 24, 48, 51
    sizes.clear()
    view_logits(network, IMAGE, Views(70, 40))
    assert sizes == [(61, 70)] * 2  # an image that is lower than a window


def test_overlapping_windows_are_blended_by_distance_from_their_ends():
    """Of four columns that two windows see, the outer ones are one window's, the inner ones both's."""
    image = torch.zeros(1, 3, 8, 12)
    seen = view_logits(placed, image, Views(8, 4)).exp()[0, 0, 0]
    p = torch.linspace(-2, 2, 8).mul(2).sigmoid()
    both = torch.stack([p[4], 0.75 * p[5] + 0.25 * p[1], 0.25 * p[6] + 0.75 * p[2], p[3]])
    torch.testing.assert_close(seen, torch.cat([p[:4], both, p[4:]]))


def test_mirrored_view_is_the_mean_of_both():
    seen = view_logits(placed, IMAGE, Views(flip=True)).exp()
    torch.testing.assert_close(seen, torch.full_like(seen, 0.5), rtol=1e-5, atol=1e-6)


def test_scaled_views_are_shown_at_their_size_and_come_back():
    sizes = []

    def network(image):
        sizes.append(tuple(image.shape[2:]))
        return pixelwise(image)

    flat = torch.full((1, 3, 60, 80), 90.0)
    seen = view_logits(network, flat, Views(scales=(1.0, 0.75, 1.5)))
    assert sizes == [(60, 80), (45, 60), (90, 120)]
    torch.testing.assert_close(seen.softmax(1), pixelwise(flat).softmax(1))


def test_options_are_read():
    assert parse_views(None, None, None) == Views()
    assert not parse_views(None, None, None)
    assert parse_views(512, 341, None) == Views(512, 341)
    assert parse_views(1, None, None) == Views(1, 1)
    assert parse_views(300, None, "flip, 0.75,1.25") == Views(300, 200, (1.0, 0.75, 1.25), True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((None, 10, None), "--stride 10"),
        ((32, 33, None), "1..window"),
        ((None, None, "flop"), "--tta flop"),
        ((None, None, "nan"), "--tta nan"),
        ((None, None, "9"), "0.1..4"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, said):
    with pytest.raises(SegtoolError, match=said):
        parse_views(*options)
