"""The torch operators: what torch expects of them, autocast, compilation, and what they refuse."""

import pytest
import torch

from segtool.crf import operators
from segtool.errors import SegtoolError


@pytest.fixture
def image(photo):
    return torch.from_numpy(photo[:20, :24].copy()).permute(2, 0, 1)[None].float()


def test_torch_accepts_the_operators(image):
    values, near, alike = (torch.rand(1, 2, 20, 24, requires_grad=True) for _ in range(3))
    lattice = operators.bilateral_lattice(image, 10.0, 20.0)
    tables = [torch.rand(2, 2, requires_grad=True) for _ in range(2)]
    torch.library.opcheck(torch.ops.segtool.spatial_filter.default, (values, 1.5))
    for normalize in (True, False):
        update = torch.ops.segtool.mean_field_update.default
        torch.library.opcheck(update, (values, near, alike, *tables, normalize))
    torch.library.opcheck(torch.ops.segtool.bilateral_filter.default, (values, *lattice))
    torch.library.opcheck(torch.ops.segtool.bilateral_lattice.default, (image, 10.0, 20.0))
    assert torch.Tag.cudagraph_unsafe in torch.ops.segtool.bilateral_lattice.default.tags


def test_autocast_computes_in_float32(image):
    lattice = operators.bilateral_lattice(image, 10.0, 20.0)
    values = torch.rand(1, 3, 20, 24).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        bilateral, spatial = operators.bilateral_filter(values, *lattice), operators.spatial_filter(values, 2.0)
    assert bilateral.dtype == spatial.dtype == torch.float32
    torch.testing.assert_close(bilateral, operators.bilateral_filter(values.float(), *lattice))
    (bilateral + spatial).sum().backward()
    assert values.grad is not None
    assert values.grad.dtype == torch.bfloat16


def test_compiled_it_is_one_graph_with_the_same_result(image):
    def message(image, values):
        lattice = operators.bilateral_lattice(image, 10.0, 20.0)
        return operators.bilateral_filter(values.softmax(1), *lattice) + operators.spatial_filter(values, 1.5)

    values = torch.rand(1, 3, 20, 24)
    compiled = torch.compile(message, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image, values), message(image, values))


def test_a_lattice_of_another_image_is_refused(image):
    lattice = operators.bilateral_lattice(image, 10.0, 20.0)
    with pytest.raises(SegtoolError, match="different images"):
        operators.bilateral_filter(torch.rand(1, 3, 21, 24), *lattice)
    with pytest.raises(SegtoolError, match="different images"):
        operators.bilateral_filter(torch.rand(1, 3, 20, 24), lattice[0], lattice[1], lattice[2][0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int32])
def test_other_dtypes_are_refused_and_never_misread(image, dtype):
    lattice = operators.bilateral_lattice(image, 10.0, 20.0)
    values = torch.ones(1, 3, 20, 24, dtype=dtype)
    with pytest.raises(SegtoolError, match="must be float32"):
        operators.bilateral_filter(values, *lattice)
    with pytest.raises(SegtoolError, match="must be float32"):
        operators.spatial_filter(values, 1.0)


def test_a_lattice_needs_three_channels():
    with pytest.raises(SegtoolError, match=r"\[N,3,H,W\]"):
        operators.bilateral_lattice(torch.rand(1, 4, 8, 8), 10.0, 20.0)
