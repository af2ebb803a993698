"""The spatial kernel: native and plain torch against the matrix of the exact kernel."""

import numpy as np
import pytest
import torch

from segtool.crf import native, operators, plain
from segtool.crf.reference import gaussian_kernel, pixel_features
from segtool.errors import SegtoolError

FACES = pytest.mark.parametrize("face", [operators, plain])


@FACES
@pytest.mark.parametrize("sigma", [0.3, 1.5, 4.0, 100.0])
@pytest.mark.parametrize("size", [(24, 30), (1, 1), (1, 70), (40, 1)])
def test_it_is_the_normalised_kernel_matrix(face, sigma, size):
    values = torch.rand(2, 3, *size)
    exact = gaussian_kernel(pixel_features(torch.zeros(3, *size), sigma)) @ values.flatten(2).transpose(1, 2)
    got = face.spatial_filter(values, sigma).flatten(2).transpose(1, 2)
    torch.testing.assert_close(got, exact, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 11, 13, 37), (1, 150, 5, 6), (1, 2, 3, 400)])
def test_both_layouts_give_the_same_in_their_own_layout(shape):
    values = torch.rand(shape)
    expected = operators.spatial_filter(values, 2.0)
    assert expected.is_contiguous()
    got = operators.spatial_filter(values.contiguous(memory_format=torch.channels_last), 2.0)
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)


def test_its_gradient_is_that_of_the_plain_face():
    values, cotangent = torch.rand(2, 2, 5, 9, 11)
    gradients = []
    for face in (operators, plain):
        leaf = values.clone().requires_grad_()
        face.spatial_filter(leaf, 1.5).backward(cotangent)
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_a_sigma_without_meaning_is_refused(sigma):
    with pytest.raises(SegtoolError, match="sigma must be positive"):
        operators.spatial_filter(torch.rand(1, 1, 4, 4), sigma)


def test_raw_pointers():
    values = np.random.default_rng(0).random((2, 5, 6, 3), dtype=np.float32)
    out = np.empty_like(values)
    native.spatial_filter_pointers(values.ctypes.data, values.shape, 1.0, out.ctypes.data)
    expected = plain.spatial_filter(torch.from_numpy(values).permute(0, 3, 1, 2), 1.0)
    np.testing.assert_allclose(out, expected.permute(0, 2, 3, 1), rtol=1e-5, atol=1e-6)
