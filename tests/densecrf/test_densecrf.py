"""Programs that were written for pydensecrf run with the import changed."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import segtool.densecrf as dcrf
from segtool.crf.reference import gaussian_kernel, mean_field, pixel_features
from segtool.densecrf.utils import (
    compute_unary,
    create_pairwise_bilateral,
    create_pairwise_gaussian,
    softmax_to_unary,
    unary_from_labels,
    unary_from_softmax,
)
from segtool.errors import SegtoolError

H, W, C = 24, 30, 3


@pytest.fixture
def image():
    random = np.random.default_rng(0)
    blocks = np.kron(random.integers(0, 256, (4, 5, 3)), np.ones((6, 6, 1)))
    return np.clip(blocks + random.normal(0, 6, blocks.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def probabilities():
    z = np.random.default_rng(1).normal(size=(C, H, W))
    return (np.exp(z) / np.exp(z).sum(0)).astype(np.float32)


def exact(unary, image, terms, iterations):
    """Mean field with exact sums: terms are (features of all pixels [N,D], matrix)."""
    kernels = [gaussian_kernel(features) for features, _ in terms]
    tables = [torch.as_tensor(np.asarray(table), dtype=torch.float64) for _, table in terms]
    return mean_field(torch.as_tensor(-unary.T, dtype=torch.float64), kernels, tables, iterations).T.numpy()


def test_the_program_of_the_readme(image, probabilities):
    d = dcrf.DenseCRF2D(W, H, C)
    unary = unary_from_softmax(probabilities)
    d.setUnaryEnergy(unary)
    d.addPairwiseGaussian(sxy=(3, 3), compat=3, kernel=dcrf.DIAG_KERNEL, normalization=dcrf.NORMALIZE_SYMMETRIC)
    d.addPairwiseBilateral(sxy=(10, 10), srgb=(13, 13, 13), rgbim=image, compat=5)
    q = d.inference(5)
    labels = np.argmax(q, axis=0).reshape((H, W))
    planes = torch.from_numpy(image).permute(2, 0, 1).double()
    terms = [(pixel_features(planes, 3), 3 * np.eye(C)), (pixel_features(planes, 10, 13), 5 * np.eye(C))]
    expected = exact(unary, image, terms, 5)
    assert np.mean(labels.ravel() == expected.argmax(0)) > 0.96
    assert np.abs(q - expected).mean() < 0.025


def test_step_by_step_is_all_at_once_and_makes_the_divergence_smaller(image, probabilities):
    d = dcrf.DenseCRF2D(W, H, C)
    d.setUnaryEnergy(unary_from_softmax(probabilities))
    for _ in range(3):  # an odd number of terms
        d.addPairwiseGaussian(sxy=2, compat=0.3)
    d.addPairwiseBilateral(sxy=(8, 9), srgb=13, rgbim=image, compat=np.array([-1, -1.5, -1], np.float32))
    q, tmp1, tmp2 = d.startInference()
    assert np.allclose(q, probabilities.reshape(C, -1), atol=1e-4)
    divergences = [d.klDivergence(q)]
    for _ in range(5):
        d.stepInference(q, tmp1, tmp2)
        divergences.append(d.klDivergence(q))
    assert np.array_equal(q, d.inference(5))
    assert divergences[-1] < divergences[0]


def test_numbers_attract_and_matrices_are_penalties(image, probabilities):
    found = []
    for compat in (4.0, np.full(C, -4.0), -4.0 * np.eye(C), np.array([[-4.0, 1, 0], [-1, -4, 0], [0, 0, -4]])):
        d = dcrf.DenseCRF2D(W, H, C)
        d.setUnaryEnergy(unary_from_softmax(probabilities))
        d.addPairwiseGaussian(sxy=3, compat=compat)
        found.append(d.inference(4))
    for other in found[1:]:  # what the last one has beside its diagonal cancels
        assert np.allclose(found[0], other, atol=1e-5)


def test_free_points_and_grids_give_what_images_give(image, probabilities):
    """The same energies, written with create_pairwise_*; the image lattice and that of points differ a little."""
    unary = unary_from_softmax(probabilities)
    a = dcrf.DenseCRF2D(W, H, C)
    b = dcrf.DenseCRF(W * H, C)
    for d in (a, b):
        d.setUnaryEnergy(unary)
    a.addPairwiseGaussian(sxy=4, compat=3)
    a.addPairwiseBilateral(sxy=9, srgb=20, rgbim=image, compat=6)
    b.addPairwiseEnergy(create_pairwise_gaussian((4, 4), (H, W)), compat=3)
    b.addPairwiseEnergy(create_pairwise_bilateral((9, 9), (20, 20, 20), image, chdim=2), compat=6)
    one, other = a.inference(5), b.inference(5)
    assert np.mean(one.argmax(0) == other.argmax(0)) > 0.97


def test_x_comes_before_y(probabilities):
    """A kernel that is long in x smooths along rows."""
    d = dcrf.DenseCRF2D(W, H, C)
    d.setUnaryEnergy(unary_from_softmax(probabilities))
    d.addPairwiseGaussian(sxy=(20, 0.3), compat=8)
    labels = d.inference(5).argmax(0).reshape(H, W)
    along, across = (np.mean(np.diff(labels, axis=axis) == 0) for axis in (1, 0))
    assert along > 0.95 > 0.9 > across


def test_unary_energies():
    labels = np.array([[0, 1], [2, 1]])
    u = unary_from_labels(labels, 2, 0.7)
    assert np.allclose(u[:, 0], np.log(2))
    assert np.allclose(u[:, 1], [-np.log(0.7), -np.log(0.3)])
    assert np.array_equal(u, compute_unary(labels.astype(np.uint8), 2, 0.7))
    sure = unary_from_labels(labels, 3, 0.5, zero_unsure=False)
    assert np.allclose(np.exp(-sure).sum(0), 1)
    sm = np.array([[[1.0, 0.2]], [[0.0, 0.8]]])
    assert np.allclose(unary_from_softmax(sm), -np.log(np.clip([[1, 0.2], [0, 0.8]], 1e-5, 1)))
    scaled = unary_from_softmax(sm, scale=0.5, clip=None)
    assert np.allclose(scaled, -np.log([[0.75, 0.35], [0.25, 0.65]]))
    assert np.array_equal(softmax_to_unary(sm), unary_from_softmax(sm))


def test_features_of_volumes_and_bands():
    places = create_pairwise_gaussian((2, 1, 4), (2, 3, 4))
    assert places.shape == (3, 24)
    assert places[:, -1].tolist() == [0.5, 2.0, 0.75]
    volume = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    grey = create_pairwise_bilateral((1, 1, 1), 2, volume)
    assert np.array_equal(grey[3], volume.ravel() / 2)
    bands = create_pairwise_bilateral((1, 1), (1, 2, 3, 4, 5), np.ones((5, 3, 4)), chdim=0)
    assert bands.shape == (7, 12)
    assert np.allclose(bands[2:, 0], [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])


def crf():
    return dcrf.DenseCRF2D(W, H, C)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: dcrf.DenseCRF(0, 3), "a CRF has points and classes"),
        (lambda: crf().setUnaryEnergy(np.zeros((C, 5))), r"unary energies must be \[3,720\]: shape \[3, 5\]"),
        (lambda: crf().setUnaryEnergy(np.full((C, H * W), np.nan)), "no finite numbers"),
        (lambda: crf().setUnaryEnergy(np.full((C, H * W), 1 / 3)), "probabilities, not energies: .*unary_from_softmax"),
        (lambda: crf().addPairwiseEnergy(np.zeros((17, H * W))), "D of 1..16"),
        (lambda: crf().addPairwiseEnergy(np.zeros((2, 5))), "features must be"),
        (lambda: crf().addPairwiseEnergy(np.full((2, H * W), np.inf)), "feature 0 of point 0 is no finite number"),
        (lambda: crf().addPairwiseEnergy(np.full((2, H * W), 1e9)), "too far from 0"),
        (lambda: crf().addPairwiseGaussian(sxy=0, compat=3), "sxy is 0"),
        (lambda: crf().addPairwiseGaussian(sxy=(1, 2, 3), compat=3), "a positive number, or 2 of them"),
        (lambda: crf().addPairwiseGaussian(sxy=1, compat=np.zeros(2)), "not a compatibility"),
        (lambda: crf().addPairwiseGaussian(sxy=1, compat=3, kernel=dcrf.FULL_KERNEL), "FULL_KERNEL is not carried"),
        (lambda: crf().addPairwiseGaussian(sxy=1, compat=3, normalization=9), "there is no normalization 9"),
        (lambda: crf().addPairwiseBilateral(3, 3, np.zeros((W, H, 3), "u1"), 3), r"rgbim must be uint8 \[24,30,3\]"),
        (lambda: crf().addPairwiseBilateral(3, 3, np.zeros((H, W, 3)), 3), "rgbim must be uint8"),
        (lambda: crf().inference(-1), "-1 iterations"),
        (lambda: crf().stepInference(np.zeros((C, 3), np.float32), None, None), "what startInference gave"),
        (lambda: unary_from_labels([0, 5], 2, 0.7), "labels of int64, 0..5: .*0 for unsure, and 1..2"),
        (lambda: unary_from_labels([0.5], 2, 0.7), "labels of float64"),
        (lambda: unary_from_labels([0], 2, 1.0), "gt_prob is 1.0"),
        (lambda: unary_from_softmax(np.array([[2.0], [-1.0]])), "no probabilities"),
        (lambda: unary_from_softmax(np.ones((1, 1)), scale=0), "scale is 0"),
        (lambda: create_pairwise_gaussian((1,), (2, 3)), "2 positive numbers"),
        (lambda: create_pairwise_bilateral((1, 1), 0, np.ones((2, 2))), "schan is 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_said_in_a_line(wrong, said):
    with pytest.raises(SegtoolError, match=said):
        wrong()


def test_it_needs_numpy_alone(tmp_path):
    """What a script that sharpens probabilities loads."""
    loaded = "[m for m in ('torch', 'onnxruntime', 'PIL', 'pydantic') if m in sys.modules]"
    code = f"import segtool.densecrf, segtool.densecrf.utils, sys; print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stderr
