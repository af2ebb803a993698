"""The CUDA kernels on the CPU, thread after thread in scrambled orders: their source, and what nvcc makes of it.

It proves their logic against the CPU library on machines without a GPU. Tests marked `gpu` run the real thing.
"""

import numpy as np
import pytest
import torch

from segtool.crf import library, native
from segtool.errors import SegtoolError

from .cuda_cases import CASES, IMAGES, STREAM, noise


@CASES
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_same_filter_as_on_the_cpu(cuda, case, deterministic, layout):
    image, alpha, beta = case
    values = torch.randn(image.shape[0], 5, *image.shape[2:]).contiguous(memory_format=layout)
    vertex, weight, neighbor, status = cuda.build_lattice(image, alpha, beta, STREAM)
    expected_lattice = native.bilateral_lattice(image.numpy(), alpha, beta)
    assert status.tolist() == [expected_lattice.neighbor.shape[2], 0]
    assert neighbor.shape == expected_lattice.neighbor.shape
    np.testing.assert_allclose(weight, expected_lattice.weight, rtol=1e-5, atol=1e-7)
    for reverse in (False, True):
        lattice = (vertex, weight, neighbor)
        got = cuda.filter_values(values, lattice, STREAM, reverse=reverse, deterministic=deterministic)
        assert got.stride() == values.stride()
        expected = native.bilateral_filter(values.contiguous().numpy(), expected_lattice, reverse)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("deterministic", [False, True])
def test_room_to_spare_changes_nothing(cuda, monkeypatch, deterministic):
    # Whatever lies in memory that is not used: nobody may look at it.
    monkeypatch.setattr(cuda, "_workspace", lambda size, device: torch.full((size,), 0xFF, dtype=torch.uint8))
    image, alpha, beta = IMAGES["batch"]
    values = torch.rand(3, 4, 20, 21)
    options = {"reverse": False, "deterministic": deterministic}
    tight = cuda.filter_values(values, cuda.build_lattice(image, alpha, beta, STREAM)[:3], STREAM, **options)
    *lattice, status = cuda.build_lattice(image, alpha, beta, STREAM, capacity=5000)
    assert lattice[2].shape == (6, 2, 5000)
    assert status.tolist() == [int(lattice[0].max() + 1), 0]
    for told in (None, status):
        roomy = cuda.filter_values(values, lattice, STREAM, **options, status=told)
        torch.testing.assert_close(roomy, tight, rtol=1e-5, atol=1e-6)


def test_overflow_is_told_and_stays_in_bounds(cuda):
    image, alpha, beta = IMAGES["noise"]
    *lattice, status = cuda.build_lattice(image, alpha, beta, STREAM, capacity=10)
    assert status[1] == library.OVERFLOW
    assert all(int(index.min()) >= 0 and int(index.max()) <= 10 for index in (lattice[0], lattice[2]))


@pytest.mark.parametrize("level", [float("nan"), float("inf"), -1.0, 255.5])
def test_levels_out_of_range_are_refused(cuda, level):
    image = noise(1, 3, 8, 9)
    image[0, 1, 3, 4] = level
    with pytest.raises(SegtoolError, match=r"within 0\.\.255"):
        cuda.build_lattice(image, 10.0, 10.0, STREAM)
    assert cuda.build_lattice(image, 10.0, 10.0, STREAM, capacity=1000)[3][1] == library.BAD_LEVEL


@pytest.mark.parametrize(
    ("sigmas", "capacity", "message"),
    [((0.0, 1.0), None, "positive"), ((1e-9, 1.0), None, "too small"), ((1.0, 1.0), 2**30, "capacity")],
)
def test_bad_arguments_are_refused(cuda, sigmas, capacity, message):
    image = noise(1, 3, 8, 9)
    if capacity:  # no such workspace can be had, and none is touched
        with pytest.raises(SegtoolError, match=message):
            library.cuda_call("segtool_cuda_lattice_insert", 0, 1, 8, 9, *sigmas, capacity, 0, 0, 0, 0, 0)
    else:
        with pytest.raises(SegtoolError, match=message):
            cuda.build_lattice(image, *sigmas, STREAM)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 40])  # rows of a lattice have whole fours from 3 on
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("deterministic", [False, True])
def test_filter_of_any_number_of_channels(cuda, channels, layout, deterministic):
    image, alpha, beta = IMAGES["noise"]
    values = torch.randn(1, channels, 25, 31).contiguous(memory_format=layout)
    lattice = cuda.build_lattice(image, alpha, beta, STREAM)[:3]
    got = cuda.filter_values(values, lattice, STREAM, reverse=False, deterministic=deterministic)
    expected_lattice = native.bilateral_lattice(image.numpy(), alpha, beta)
    expected = native.bilateral_filter(values.contiguous().numpy(), expected_lattice)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_memory_out_of_line_is_refused(cuda, monkeypatch):
    image, alpha, beta = IMAGES["noise"]
    vertex, weight, neighbor, _ = cuda.build_lattice(image, alpha, beta, STREAM)
    aside = torch.cat([torch.zeros(1), weight.reshape(-1)])[1:].reshape(weight.shape)
    values, options = torch.rand(1, 1, 25, 31), {"reverse": False, "deterministic": False}
    with pytest.raises(SegtoolError, match="vertex and weight must be aligned to 8 bytes"):
        cuda.filter_values(values, (vertex, aside, neighbor), STREAM, **options)
    monkeypatch.setattr(cuda, "_workspace", lambda size, device: torch.empty(size + 8, dtype=torch.uint8)[8:])
    with pytest.raises(SegtoolError, match="workspace must be aligned to 16 bytes"):
        cuda.filter_values(values, (vertex, weight, neighbor), STREAM, **options)


def test_a_lattice_too_large_for_its_indices_is_refused(cuda):
    sizes = (1, 150, 10**6, 30 * 10**6)  # n, channels, pixels, capacity
    with pytest.raises(SegtoolError, match=r"more than 2\^32 values"):
        library.cuda_call("segtool_cuda_filter", 0, 0, 0, 0, 0, *sizes, 0, 0, 0, 0, 0, 0)


def test_more_channels_than_a_block_takes_are_refused(cuda):
    values = [torch.rand(1, 1024, 1, 2)] * 3
    with pytest.raises(SegtoolError, match="at most 1023 channels"):
        cuda.mean_field_update([*values, *[torch.eye(1024)] * 2], True, STREAM)


def test_deterministic_sums_do_not_depend_on_the_order(cuda, on_cpu):
    image, alpha, beta = IMAGES["noise"]
    values = 1e6 * torch.randn(1, 3, 25, 31)
    lattice = cuda.build_lattice(image, alpha, beta, STREAM)[:3]
    results = []
    for order in (1, 5, 12345):
        on_cpu[0].segtool_cuda_on_cpu_order(order)
        results.append(cuda.filter_values(values, lattice, STREAM, reverse=False, deterministic=True))
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_never_becomes_a_number(cuda, bad):
    image, alpha, beta = IMAGES["noise"]
    lattice = cuda.build_lattice(image, alpha, beta, STREAM)[:3]
    values = torch.rand(1, 1, 25, 31)
    values[0, 0, 3, 3] = bad
    for deterministic in (False, True):
        out = cuda.filter_values(values, lattice, STREAM, reverse=False, deterministic=deterministic)
        assert not out[0, 0, 3, 3].isfinite()
