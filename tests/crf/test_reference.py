"""The exact reference against results computed by other software, and against its own equation."""

import numpy as np
import pytest
import torch

from segtool.crf import native
from segtool.crf.reference import exact_filter, gaussian_kernel, mean_field, pixel_features

CASES = ["strong", "mild"]


def _load(shared, name):
    data = np.load(shared / "crf_reference" / f"{name}_160x120.npz")
    return {key: data[key] for key in data.files}


def _kernels(case):
    image = torch.from_numpy(case["image"]).permute(2, 0, 1).float()
    spatial = gaussian_kernel(pixel_features(image, float(case["gx"])))
    bilateral = gaussian_kernel(pixel_features(image, float(case["sxy"]), float(case["srgb"])))
    return [spatial, bilateral]


@pytest.mark.slow  # the exact CRF of 19,200 pixels: 3 GB and a minute
@pytest.mark.parametrize("name", CASES)
def test_mean_field_reproduces_the_exact_results(shared, name):
    case = _load(shared, name)
    classes = len(case["logits"])
    logits = torch.from_numpy(case["logits"]).float().flatten(1).T
    potts = [float(case["cg"]) * torch.eye(classes), float(case["cb"]) * torch.eye(classes)]
    kernels = _kernels(case)
    for iterations in (1, 5, 10):
        q = mean_field(logits, kernels, potts, iterations).T.reshape(classes, *case["truth"].shape)
        np.testing.assert_allclose(q.numpy(), case[f"exact_q{iterations}"], atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_lattice_labels_agree_with_exact_ones_at_least_as_often_as_pydensecrf(shared, name):
    from segtool.crf.layer import DenseCRF, KernelWidths

    case = _load(shared, name)
    widths = KernelWidths(float(case["gx"]), float(case["sxy"]), float(case["srgb"]))
    crf = DenseCRF(len(case["logits"]), widths, (float(case["cg"]), float(case["cb"])), compatibility="per-kernel")
    image = torch.from_numpy(case["image"]).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        labels = crf(torch.from_numpy(case["logits"])[None].float(), image, 10)[0].argmax(0).numpy()
    exact = case["exact_q10"].argmax(0)
    ours = (labels == exact).mean()
    theirs = (case["pydensecrf_q10"].argmax(0) == exact).mean()
    assert ours >= theirs


@pytest.mark.parametrize("name", CASES)
def test_message_error_of_the_lattice(shared, name):
    case = _load(shared, name)
    image = case["image"].transpose(2, 0, 1)[None].astype(np.float32)
    q = torch.from_numpy(case["logits"]).softmax(0)[None].float().numpy()
    lattice = native.bilateral_lattice(image, float(case["sxy"]), float(case["srgb"]))
    message = native.bilateral_filter(q, lattice)[0]
    exact = case["bilateral_message_of_softmax"]
    error = np.linalg.norm(message - exact) / np.linalg.norm(exact)
    assert error <= {"strong": 0.0405, "mild": 0.0432}[name]


def test_exact_filter_is_the_normalised_sum():
    image = torch.rand(3, 3, 4, dtype=torch.float64) * 255
    values = torch.rand(2, 3, 4, dtype=torch.float64)
    got = exact_filter(values, image, 5.0, 30.0)

    def kernel(a, b):
        (ya, xa), (yb, xb) = a, b
        color = ((image[:, ya, xa] - image[:, yb, xb]) / 30.0).square().sum()
        return float(torch.exp(-0.5 * (((ya - yb) ** 2 + (xa - xb) ** 2) / 25.0 + color)))

    pixels = [(y, x) for y in range(3) for x in range(4)]
    degree = {p: sum(kernel(p, o) for o in pixels) for p in pixels}
    for p in pixels:
        expected = sum(kernel(p, o) / (degree[p] * degree[o]) ** 0.5 * values[:, o[0], o[1]] for o in pixels)
        torch.testing.assert_close(got[:, p[0], p[1]], expected)
