"""Every face finds the same vertices, bit for bit, and gives the same filter."""

import numpy as np
import pytest
import torch

from segtool.crf import native, operators, plain


def _images():
    random = np.random.default_rng(3)
    y, x = np.mgrid[:24, :37].astype(np.float32)
    yield "one pixel", np.full((1, 3, 1, 1), 128, np.float32), 20.0, 8.0
    yield "one row", random.integers(0, 256, (1, 3, 1, 19)).astype(np.float32), 20.0, 8.0
    yield "one column", random.integers(0, 256, (1, 3, 23, 1)).astype(np.float32), 20.0, 8.0
    yield "flat", np.full((1, 3, 24, 37), 200, np.float32), 80.0, 13.0
    yield "gradient", np.broadcast_to(x * 6, (1, 3, 24, 37)).copy(), 30.0, 10.0
    yield "on ties", np.broadcast_to(x // 6 * 6 + y, (1, 3, 24, 37)).copy(), 6.0, 6.0
    yield "noise", random.integers(0, 256, (1, 3, 40, 31)).astype(np.float32), 20.0, 8.0
    yield "fractions", random.random((1, 3, 40, 31)).astype(np.float32) * 255, 20.0, 8.0
    yield "narrow: own vertices", random.integers(0, 256, (1, 3, 9, 9)).astype(np.float32), 0.05, 0.5
    yield "batch", random.integers(0, 256, (3, 3, 20, 21)).astype(np.float32), 20.0, 40.0


CASES = pytest.mark.parametrize(("image", "alpha", "beta"), [pytest.param(*c, id=n) for n, *c in _images()])


def _renumbering(ours, theirs, count):
    """Maps vertex numbers of one face to those of the other; checks that the map is one-to-one."""
    table = np.full(count + 1, -1)
    table[ours.ravel()] = theirs.ravel()
    table[count] = count
    assert sorted(table) == list(range(count + 1))
    return table


@CASES
def test_same_vertices_weights_and_neighbors(image, alpha, beta):
    ours = native.bilateral_lattice(image, alpha, beta)
    vertex, weight, neighbor = (t.numpy() for t in plain.bilateral_lattice(torch.from_numpy(image), alpha, beta))
    count = ours.neighbor.shape[2]
    assert neighbor.shape[2] == count
    table = _renumbering(ours.vertex, vertex, count)
    np.testing.assert_array_equal(table[ours.vertex], vertex)
    np.testing.assert_array_equal(table[ours.neighbor], neighbor[:, :, table[:count]])
    np.testing.assert_allclose(ours.weight, weight, rtol=1e-5, atol=1e-7)


@CASES
def test_same_filter_and_adjoint(image, alpha, beta):
    random = np.random.default_rng(0)
    n, _, height, width = image.shape
    x, y = random.random((2, n, 11, height, width), dtype=np.float32)
    lattice = native.bilateral_lattice(image, alpha, beta)
    portable = plain.bilateral_lattice(torch.from_numpy(image), alpha, beta)
    for reverse in (False, True):
        ours = native.bilateral_filter(x, lattice, reverse)
        theirs = plain.bilateral_filter(torch.from_numpy(x), *portable, reverse).numpy()
        assert np.linalg.norm(ours - theirs) <= 1e-5 * np.linalg.norm(theirs)
    forward = np.vdot(native.bilateral_filter(x, lattice).astype(np.float64), y)
    backward = np.vdot(x.astype(np.float64), native.bilateral_filter(y, lattice, reverse=True))
    assert forward == pytest.approx(backward, rel=1e-5)


def test_batch_is_images_side_by_side():
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (3, 3, 15, 17)).astype(np.float32)
    values = random.random((3, 4, 15, 17), dtype=np.float32)
    together = native.bilateral_filter(values, native.bilateral_lattice(images, 20, 30))
    for i in range(3):
        alone = native.bilateral_filter(values[i : i + 1], native.bilateral_lattice(images[i : i + 1], 20, 30))
        np.testing.assert_array_equal(together[i : i + 1], alone)


@pytest.mark.parametrize("channels", [1, 7, 8, 9, 255])
def test_any_number_of_channels(channels, photo):
    image = torch.from_numpy(photo[:30, :30].copy()).permute(2, 0, 1)[None].float()
    values = torch.rand(1, channels, 30, 30)
    ours = operators.bilateral_filter(values, *operators.bilateral_lattice(image, 20.0, 8.0))
    theirs = plain.bilateral_filter(values, *plain.bilateral_lattice(image, 20.0, 8.0))
    torch.testing.assert_close(ours, theirs)


def test_channel_last_values_give_the_same_in_the_same_layout(photo):
    image = torch.from_numpy(photo[:30, :40].copy()).permute(2, 0, 1)[None].float().repeat(2, 1, 1, 1)
    values = torch.rand(2, 11, 30, 40)
    lattice = operators.bilateral_lattice(image, 20.0, 8.0)
    for reverse in (False, True):
        expected = operators.bilateral_filter(values, *lattice, reverse)
        got = operators.bilateral_filter(values.contiguous(memory_format=torch.channels_last), *lattice, reverse)
        assert got.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(got, expected)


def test_constant_values_of_a_flat_image_keep_their_sum():
    """Kn is symmetric up to the order of the blurs, so the mean of a constant stays near itself."""
    image = np.full((1, 3, 40, 40), 90, np.float32)
    values = np.ones((1, 1, 40, 40), np.float32)
    filtered = native.bilateral_filter(values, native.bilateral_lattice(image, 5, 10))
    assert filtered[0, 0, 10:30, 10:30] == pytest.approx(1.0, abs=0.15)
