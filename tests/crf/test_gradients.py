"""Gradients against finite differences in float64, and of the faces against each other."""

import pytest
import torch

from segtool.crf import operators, plain
from segtool.crf.reference import gaussian_kernel, mean_field, pixel_features


@pytest.fixture
def image():
    return torch.randint(0, 256, (1, 3, 9, 11), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize("reverse", [False, True])
def test_plain_filter_against_finite_differences(image, reverse):
    vertex, weight, neighbor = plain.bilateral_lattice(image, 8.0, 60.0)
    values = torch.rand(1, 2, 9, 11, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda v: plain.bilateral_filter(v, vertex, weight.double(), neighbor, reverse), (values,)
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_native_gradient_is_the_plain_one(image, reverse):
    values = torch.rand(1, 5, 9, 11)
    cotangent = torch.rand(1, 5, 9, 11)
    gradients = []
    for face in (operators, plain):
        lattice = face.bilateral_lattice(image, 8.0, 60.0)
        leaf = values.clone().requires_grad_()
        face.bilateral_filter(leaf, *lattice, reverse).backward(cotangent)
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


def test_second_derivative_of_a_linear_filter_vanishes_and_the_graph_allows_it(image):
    lattice = operators.bilateral_lattice(image, 8.0, 60.0)
    values = torch.rand(1, 2, 9, 11, requires_grad=True)
    out = operators.bilateral_filter(values, *lattice)
    (first,) = torch.autograd.grad(out.square().sum(), values, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), values)
    expected = operators.bilateral_filter(torch.ones_like(values), *lattice)
    expected = 2 * operators.bilateral_filter(expected, *lattice, True)
    torch.testing.assert_close(second, expected)


def test_mean_field_reference_against_finite_differences():
    image = torch.rand(3, 4, 5, dtype=torch.float64) * 255
    kernels = [gaussian_kernel(pixel_features(image, 2.0)), gaussian_kernel(pixel_features(image, 4.0, 40.0))]
    logits = torch.rand(20, 3, dtype=torch.float64, requires_grad=True)
    tables = [torch.rand(3, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda z, *m: mean_field(z, kernels, list(m), 3), (logits, *tables))


def test_torch_operators_keep_torchs_contract(image):
    lattice = operators.bilateral_lattice(image, 8.0, 60.0)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    values = torch.rand(1, 2, 9, 11, requires_grad=True)
    torch.library.opcheck(operators.bilateral_lattice, (image, 8.0, 60.0), test_utils=checks)
    torch.library.opcheck(operators.bilateral_filter, (values, *lattice, False), test_utils=checks)
