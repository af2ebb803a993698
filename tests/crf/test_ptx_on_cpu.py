"""The machine that runs PTX on the CPU: that it tells what a device would refuse, or compute wrong without a word."""

import ctypes

import numpy as np
import pytest

from .compiler import PTX_STAND_IN, compiled_by_nvcc

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("faults") / "libfaults.so"
    lib = ctypes.CDLL(str(compiled_by_nvcc(out, [PTX_STAND_IN / "faults.cu"], [], "-shared")))
    lib.run.restype = ctypes.c_char_p
    lib.run.argtypes = [ctypes.c_int, ctypes.c_void_p]

    def run(case):
        data = np.arange(32, dtype=np.float64).astype(np.float32)
        return lib.run(case, data.ctypes.data).decode(), data

    return run


def test_what_breaks_no_rule_is_computed(run):
    told, data = run(0)
    assert told == ""
    np.testing.assert_array_equal(data, np.arange(32) + (np.arange(32) + 1) % 32)


@pytest.mark.parametrize(
    ("case", "what"),
    [
        (1, "without a barrier between them"),
        (2, "writes what another uses"),
        (3, "reads shared memory that nobody wrote"),
        (4, "beyond the block's shared memory"),
        (5, "out of line"),
        (6, "some threads of a block come to a barrier, others do not"),
        *[(case, "no device takes a launch of this size") for case in (7, 8, 9)],
    ],
)
def test_what_breaks_a_rule_is_told(run, case, what):
    assert what in run(case)[0]
    assert run(0)[0] == ""
