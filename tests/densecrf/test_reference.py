"""The CRF on points, grids and images against exact sums, pydensecrf's results, and the equations."""

from pathlib import Path

import numpy as np
import pytest

import segtool.densecrf as dcrf
from segtool.crf import points
from segtool.crf.points import PointKernel, point_filter, point_lattice

CASES = ("bands_d7", "grey_d3", "points_d10_symmetric", "points_d1_after", "points_d2_before", "points_d5_none",
         "points_d6_symmetric", "volume_d4")  # fmt: skip
CONSTANTS = {
    "none": dcrf.NO_NORMALIZATION,
    "before": dcrf.NORMALIZE_BEFORE,
    "after": dcrf.NORMALIZE_AFTER,
    "symmetric": dcrf.NORMALIZE_SYMMETRIC,
}


def case(shared: Path, name: str):
    """A reference case, and its CRF."""
    data = np.load(shared / "crf_general" / f"{name}.npz")
    unary = data["unary"]
    crf = dcrf.DenseCRF(unary.shape[1], len(unary))
    crf.setUnaryEnergy(unary)
    for term in range(len([key for key in data if key.startswith("features")])):
        compat = data[f"compat{term}"]
        normalization = CONSTANTS[str(data[f"normalization{term}"])]
        crf.addPairwiseEnergy(
            data[f"features{term}"].T, compat[()] if compat.ndim == 0 else compat, normalization=normalization
        )
    return data, crf


@pytest.mark.parametrize("name", CASES)
def test_labels_are_the_exact_ones_as_often_as_pydensecrfs(shared, name):
    data, crf = case(shared, name)
    iterations = int(data["iterations"])
    exact = data[f"exact_q{iterations}"]
    found = crf.inference(iterations)
    assert np.allclose(found.sum(0), 1, atol=1e-5)
    mine, theirs = ((q.argmax(0) == exact.argmax(0)).sum() for q in (found, data[f"pydensecrf_q{iterations}"]))
    assert mine >= theirs


@pytest.mark.parametrize("name", CASES)
def test_messages_are_at_least_as_near_as_pydensecrfs(shared, name, monkeypatch):
    """Its lattice is ours without narrowing: there the labels of the reference cases are its, one by one."""
    data, _ = case(shared, name)
    q = np.exp(-data["unary"] - np.logaddexp.reduce(-data["unary"], 0)).astype(np.float32)
    for term, exact in enumerate(data["first_message"]):
        how = data[f"features{term}"].T, str(data[f"normalization{term}"])
        mine = PointKernel(*how)(q)
        with monkeypatch.context() as patch:
            patch.setattr(points, "_NARROWING", {})
            theirs = PointKernel(*how)(q)
        errors = [np.linalg.norm(found - exact) / np.linalg.norm(exact) for found in (mine, theirs)]
        assert errors[0] <= errors[1]
        assert errors[0] < (0.14 if "d10" in name else 0.045)


@pytest.mark.parametrize("dims", range(1, 17))
def test_a_lattice_of_any_dimension(dims):
    """Every point lies in its simplex, filtering is linear, and its reverse is the adjoint."""
    random = np.random.default_rng(dims)
    features = random.normal(0, 3, (dims, 300)).astype(np.float32)
    lattice = point_lattice(features)
    assert lattice.vertex.shape == (300, dims + 1)
    assert np.allclose(lattice.weight.sum(1), 1, atol=1e-4)
    assert lattice.weight.min() > -1e-4
    a, b = random.normal(size=(2, 3, 300)).astype(np.float32)
    there, back = point_filter(a, lattice), point_filter(b, lattice, reverse=True)
    assert np.isclose((there * b).sum(), (a * back).sum(), rtol=1e-3)
    assert np.allclose(point_filter(2 * a + b, lattice), 2 * there + point_filter(b, lattice), rtol=1e-3, atol=1e-2)
    for axis in range(dims + 1):  # who is before a vertex has it after
        before, after = lattice.neighbor[axis]
        count = lattice.neighbor.shape[2]
        some = np.flatnonzero(before < count)
        assert np.array_equal(after[before[some]], some)


def test_the_bits_do_not_depend_on_the_threads():
    features = np.random.default_rng(0).normal(0, 20, (4, 40_000)).astype(np.float32)
    values = np.random.default_rng(1).normal(size=(5, 40_000)).astype(np.float32)
    one, two = (point_lattice(features, threads) for threads in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(point_filter(values, one, threads=1), point_filter(values, two, threads=2))


def test_points_far_apart_keep_their_labels():
    """Without neighbours a symmetrically normalised kernel is the identity."""
    features = (np.arange(5) * 1000.0)[None].astype(np.float32)
    assert np.allclose(PointKernel(features)(np.eye(5, dtype=np.float32)), np.eye(5), atol=1e-6)


def test_the_gaussian_of_a_free_sum_has_the_size_of_the_exact_one():
    """Of many points near one another sum K is known: 'none' is no arbitrary scale."""
    for dims in (1, 2, 3):
        points = np.random.default_rng(dims).uniform(-4, 4, (dims, 4000)).astype(np.float32)
        square = ((points[:, :, None] - points[:, None]) ** 2).sum(0)
        exact = np.exp(-square / 2).sum(1)
        found = PointKernel(points, "none")(np.ones((1, 4000), np.float32))[0]
        assert np.isclose(found.mean(), exact.mean(), rtol=0.02)
