"""Gradients for the kernel widths, against finite differences of the exact kernel."""

import numpy as np
import pytest
import torch

from segtool.crf import operators
from segtool.crf.reference import exact_filter, gaussian_kernel, pixel_features
from segtool.crf.widths import _positions, _Terms, learnable_bilateral_filter, learnable_spatial_filter

STEP = 1e-4


@pytest.fixture
def example(photo):
    image = torch.from_numpy(photo[20:60, 30:80].copy()).permute(2, 0, 1).float()
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(1, 4, 5, 7, generator=generator)
    values = torch.nn.functional.interpolate(values, (40, 50), mode="bilinear").softmax(1)
    return image, values, torch.randn(1, 4, 40, 50, generator=generator)


def _difference(image, values, cotangent, widths, index):
    """d <cotangent, Kn values> / d widths[index] of the exact kernel, in float64."""
    results = []
    for sign in (1, -1):
        moved = list(widths)
        moved[index] *= 1 + sign * STEP
        results.append((cotangent[0].double() * exact_filter(values[0].double(), image.double(), *moved)).sum())
    return float(results[0] - results[1]) / (2 * STEP * widths[index])


@pytest.mark.parametrize("gamma", [1.5, 4.0])
def test_spatial_width(example, gamma):
    image, values, cotangent = example
    width = torch.tensor(gamma, requires_grad=True)
    learnable_spatial_filter(values, width).backward(cotangent)
    assert float(width.grad) == pytest.approx(_difference(image, values, cotangent, [gamma], 0), rel=1e-3)


def test_formula_with_the_exact_kernel_in_place_of_the_lattice(example):
    image, values, cotangent = (t.double() for t in example)
    widths = [8.0, 30.0]
    features = pixel_features(image, *widths)
    distance = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    degree = torch.exp(-0.5 * distance**2).sum(1).reshape(1, 1, 40, 50)
    kernel = gaussian_kernel(features)

    def apply(v):
        return (kernel @ v.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(v.shape)

    terms = _Terms(apply, values, apply(values), cotangent, apply(cotangent), degree.sqrt())
    groups = (_positions(values), (image - 100).unbind(0))
    for index, group in enumerate(groups):
        got = float(terms.width_gradient(group, torch.tensor(widths[index], dtype=torch.float64)))
        assert got == pytest.approx(_difference(image, values, cotangent, widths, index), rel=1e-5)


@pytest.mark.parametrize("name", ["strong", "mild"])
def test_bilateral_widths_of_the_lattice(shared, name):
    """The lattice has the kernel within four per cent, its derivative within seventeen."""
    case = np.load(shared / "crf_reference" / f"{name}_160x120.npz")
    image = torch.from_numpy(case["image"][20:80, 30:100].copy()).permute(2, 0, 1).float()
    logits = torch.from_numpy(case["logits"][:, 20:80, 30:100].copy())[None]
    widths = [torch.tensor(w, requires_grad=True) for w in (20.0, 8.0)]
    lattice = operators.bilateral_lattice(image[None], 20.0, 8.0)
    values = logits.softmax(1)
    learnable_bilateral_filter(values, lattice, image[None], *widths).backward(values)
    for index, width in enumerate(widths):
        assert float(width.grad) == pytest.approx(_difference(image, values, values, [20.0, 8.0], index), rel=0.17)


def test_values_take_the_filters_own_gradient(example):
    image, values, cotangent = example
    lattice = operators.bilateral_lattice(image[None], 10.0, 30.0)
    alpha, beta = torch.tensor(10.0, requires_grad=True), torch.tensor(30.0, requires_grad=True)
    a, b = values.clone().requires_grad_(), values.clone().requires_grad_()
    learnable_bilateral_filter(a, lattice, image[None], alpha, beta).backward(cotangent)
    operators.bilateral_filter(b, *lattice).backward(cotangent)
    assert torch.equal(a.grad, b.grad)
