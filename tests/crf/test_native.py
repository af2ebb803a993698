"""The native library as such: refusals, threads, and any number of them."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from segtool.crf import library, native
from segtool.errors import SegtoolError

IMAGE = np.random.default_rng(0).integers(0, 256, (1, 3, 33, 41)).astype(np.float32)


@pytest.mark.parametrize("sigmas", [(0.0, 8.0), (20.0, -1.0), (float("nan"), 8.0), (20.0, float("inf")), (1e-9, 8.0)])
def test_bad_sigma(sigmas):
    with pytest.raises(SegtoolError, match="sigma"):
        native.bilateral_lattice(IMAGE, *sigmas)


def test_a_library_of_other_sources_is_told():
    other = Path(sys.modules["_ctypes"].__file__)  # some shared library
    with pytest.raises(SegtoolError, match=r"the native library has no segtool_\w+: .*reinstall segtool"):
        library.load(other)


@pytest.mark.parametrize("level", [np.nan, np.inf, -1.0, 256.0])
def test_bad_level(level):
    image = IMAGE.copy()
    image[0, 1, 2, 3] = level
    with pytest.raises(SegtoolError, match="levels must be finite and within 0..255"):
        native.bilateral_lattice(image, 20, 8)


def test_bad_shapes():
    with pytest.raises(SegtoolError, match=r"\[N,3,H,W\]"):
        native.bilateral_lattice(IMAGE[0], 20, 8)
    lattice = native.bilateral_lattice(IMAGE, 20, 8)
    with pytest.raises(SegtoolError, match="different images"):
        native.bilateral_filter(np.zeros((1, 2, 5, 5), np.float32), lattice)


def test_indices_of_another_lattice_are_refused():
    lattice = native.bilateral_lattice(IMAGE, 20, 8)
    broken = lattice._replace(vertex=lattice.vertex + 10**6)
    with pytest.raises(SegtoolError, match="outside 0..M"):
        native.bilateral_filter(np.zeros((1, 2, 33, 41), np.float32), broken)


_DIGEST = """
import hashlib, numpy as np
from segtool.crf import native
random = np.random.default_rng(0)
image = random.integers(0, 256, (2, 3, 120, 160)).astype(np.float32)
values = random.random((2, 21, 120, 160), dtype=np.float32)
lattice = native.bilateral_lattice(image, 20, 8)
tables = random.random((2, 21, 21), dtype=np.float32)
q = native.mean_field(values, image, (2.0, 20.0, 8.0), tables, 3)
parts = (*lattice, native.bilateral_filter(values, lattice), q)
print(hashlib.sha256(b"".join(p.tobytes() for p in parts)).hexdigest())
"""


def test_same_bits_for_any_number_of_threads():
    digests = {
        subprocess.check_output([sys.executable, "-c", _DIGEST], env={**os.environ, "OMP_NUM_THREADS": n})
        for n in ("1", "2", "5")
    }
    assert len(digests) == 1


def test_calls_use_the_threads_that_they_are_given():
    """Counted by the system: a process that never asked for more than one has one."""
    code = """
import sys, threading, numpy as np
from pathlib import Path
from segtool.crf import native
values = np.random.default_rng(0).random((1, 9, 200, 300), dtype=np.float32)
image = np.zeros((1, 3, 200, 300), np.float32)
before = len(list(Path("/proc/self/task").iterdir()))
native.mean_field(values, image, (2.0, 20.0, 8.0), (np.eye(9), np.eye(9)), 2, threads=int(sys.argv[1]))
print(len(list(Path("/proc/self/task").iterdir())) - before)
"""
    more = [int(subprocess.check_output([sys.executable, "-c", code, n], env=_with_threads("3"))) for n in "014"]
    assert more == [2, 0, 3]


def _with_threads(count):
    return {**os.environ, "OMP_NUM_THREADS": count}


def test_a_forked_process_has_threads_of_its_own():
    """Of a pool that was made before, none is left in the child; a lock that one of them held would never open."""
    expected = _sum_filtered(0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(_sum_filtered, range(8)).get(timeout=60) == [expected] * 8


def _sum_filtered(_):
    values = np.random.default_rng(1).random((1, 9, 33, 41), dtype=np.float32)
    return float(native.bilateral_filter(values, native.bilateral_lattice(IMAGE, 20, 8, 3), threads=3).sum())


def test_a_negative_number_of_threads_is_refused():
    with pytest.raises(SegtoolError, match="threads must not be negative"):
        native.bilateral_lattice(IMAGE, 20, 8, -1)


def test_calls_from_many_python_threads():
    values = np.random.default_rng(1).random((1, 9, 33, 41), dtype=np.float32)

    def work(_):
        filtered = native.bilateral_filter(values, native.bilateral_lattice(IMAGE, 20, 8))
        return hashlib.sha256(filtered.tobytes()).digest()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(work, range(32)))) == 1


def test_library_says_whether_it_has_cuda():
    assert library.has_cuda() in (True, False)
    if not library.has_cuda():
        with pytest.raises(SegtoolError, match="without CUDA"):
            library.cuda_call("segtool_cuda_filter_workspace", 1, 1, 0)


@pytest.mark.parametrize("arranged", ["strided", "Fortran", "reversed"])
def test_lattices_may_lie_in_memory_as_they_like(arranged):
    lattice = native.bilateral_lattice(IMAGE, 20, 8)
    values = np.random.default_rng(1).random((1, 2, 33, 41), dtype=np.float32)
    expected = native.bilateral_filter(values, lattice)
    ways = {
        "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
        "Fortran": np.asfortranarray,
        "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    }
    other = native.Lattice(*map(ways[arranged], lattice))
    assert not other.neighbor.flags.c_contiguous
    np.testing.assert_array_equal(native.bilateral_filter(values, other), expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a._replace(vertex=a.vertex.astype(np.int64)), "vertex and neighbor must be int32"),
        (lambda a: a._replace(weight=a.weight.astype(np.float64)), "weight float32"),
        (lambda a: a._replace(neighbor=a.neighbor[:5]), "a lattice has"),
        (lambda a: a._replace(neighbor=a.neighbor[:, 0]), "a lattice has"),
        (lambda a: a._replace(weight=a.weight[:-1]), "a lattice has"),
        (lambda a: a._replace(vertex=a.vertex.ravel()), "different images"),
    ],
)
def test_arrays_that_are_no_lattice(change, said):
    lattice = native.bilateral_lattice(IMAGE, 20, 8)
    with pytest.raises(SegtoolError, match=said):
        native.bilateral_filter(np.zeros((1, 2, 33, 41), np.float32), change(lattice))


def test_values_of_another_rank():
    with pytest.raises(SegtoolError, match=r"values must be \[N,C,H,W\]"):
        native.bilateral_filter(np.zeros((33, 41), np.float32), native.bilateral_lattice(IMAGE, 20, 8))


def test_the_least_spatial_width_changes_nothing():
    """As the kernel becomes narrower the message becomes the values themselves."""
    logits = np.random.default_rng(2).normal(size=(1, 2, 33, 41)).astype(np.float32)
    tables = (np.eye(2, dtype=np.float32), np.zeros((2, 2), np.float32))
    least = native.mean_field(logits, IMAGE, (5e-324, 20.0, 8.0), tables, iterations=3)
    np.testing.assert_array_equal(least, native.mean_field(logits, IMAGE, (1e-3, 20.0, 8.0), tables, iterations=3))
    assert np.isfinite(least).all()
