"""The native update and the whole native mean field, against plain torch in double precision."""

import numpy as np
import pytest
import torch

from segtool.crf import native, operators, plain
from segtool.crf.reference import gaussian_kernel, pixel_features
from segtool.errors import SegtoolError

SHAPES = [(2, 11, 13, 37), (1, 150, 5, 6), (1, 21, 3, 400), (3, 1, 1, 1), (1, 8, 1, 9)]


def example(shape, tables="full", dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    unary, spatial, bilateral = 4 * torch.randn(3, *shape, generator=generator, dtype=dtype)
    a, b = torch.randn(2, shape[1], shape[1], generator=generator, dtype=dtype)
    if tables in ("potts", "potts and full"):
        a = 3 * torch.eye(shape[1], dtype=dtype)
    if tables in ("potts", "full and potts"):
        b = 2 * torch.eye(shape[1], dtype=dtype)
    return unary, spatial, bilateral, a, b


def in_double(inputs, normalize):
    z = inputs[0].double()
    for message, table in zip(inputs[1:3], inputs[3:], strict=True):
        z = z + torch.einsum("nkhw,kc->nchw", message.double(), table.double())
    return z.softmax(1) if normalize else z


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tables", ["full", "potts", "potts and full", "full and potts"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("face", [operators, plain])
def test_an_update_is_its_formula(face, shape, tables, normalize, layout):
    inputs = example(shape, tables)
    values = [t.contiguous(memory_format=layout) for t in inputs[:3]]
    got = face.mean_field_update(*values, *inputs[3:], normalize)
    torch.testing.assert_close(got.double(), in_double(inputs, normalize), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("left_out", [(), (1,), (2,), (1, 2)])
@pytest.mark.parametrize("tables", ["full", "potts"])
def test_an_update_in_place_and_with_messages_left_out(tables, left_out, channels_last):
    inputs = example((2, 11, 13, 37), tables)
    expected = in_double([torch.zeros_like(t) if i in left_out else t for i, t in enumerate(inputs)], True)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    values = [t.contiguous(memory_format=layout) for t in inputs[:3]] + [t.contiguous() for t in inputs[3:]]
    pointers = [0 if {i, i - 2} & set(left_out) else t.data_ptr() for i, t in enumerate(values)]
    out = values[0]
    native.mean_field_update_pointers(
        pointers, (2, 11, 13 * 37), out.data_ptr(), normalize=True, channels_last=channels_last
    )
    torch.testing.assert_close(out.double(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("normalize", [True, False])
def test_its_gradients_are_those_of_the_formula(normalize):
    inputs = example((2, 3, 4, 5))
    cotangent = torch.randn(2, 3, 4, 5)
    gradients = []
    for function in (operators.mean_field_update, lambda *i: in_double((*i[:-1],), i[-1])):
        leaves = [t.clone().requires_grad_() for t in inputs]
        (function(*leaves, normalize) * cotangent).sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_scores_far_apart_and_not_finite():
    z = torch.tensor([[1000.0, -1000.0, 999.0], [0.0, float("nan"), 0.0], [-300.0, -300.0, -300.0]])
    unary, nothing, table = z.T[None, :, None].contiguous(), torch.zeros(1, 3, 1, 3), torch.zeros(3, 3)
    q = operators.mean_field_update(unary, nothing, nothing, table, table, True)[0, :, 0].T
    torch.testing.assert_close(q[0], z[0].softmax(0), atol=1e-7, rtol=1e-6)
    assert q[1].isnan().all()
    torch.testing.assert_close(q[2], torch.full((3,), 1 / 3))


def test_tables_and_messages_of_other_shapes_are_refused():
    unary, spatial, bilateral, a, b = example((1, 3, 4, 5))
    with pytest.raises(SegtoolError, match=r"compatibilities must be float32 \[3,3\]"):
        operators.mean_field_update(unary, spatial, bilateral, a[:2], b, True)
    with pytest.raises(SegtoolError, match="values must be float32"):
        operators.mean_field_update(unary, spatial[:, :, :3], bilateral, a, b, True)
    with pytest.raises(SegtoolError, match="not empty"):
        operators.mean_field_update(*(t[:0] for t in (unary, spatial, bilateral)), a, b, True)


def dense_mean_field(logits, image, widths, tables, iterations):
    """Algorithm 1 with the exact kernels, in double precision."""
    gamma, alpha, beta = widths
    kernels = [
        gaussian_kernel(pixel_features(image.double(), gamma)),
        gaussian_kernel(pixel_features(image.double(), alpha, beta)),
    ]
    z = logits.double().flatten(1).T
    q = z.softmax(1)
    for _ in range(iterations):
        q = (z + sum(k @ q @ t.double() for k, t in zip(kernels, tables, strict=True))).softmax(1)
    return q.T.reshape(logits.shape)


@pytest.mark.parametrize("classes", [1, 5, 40])
def test_the_whole_mean_field_is_algorithm_1(photo, classes):
    image = torch.from_numpy(photo[:30, :40].copy()).permute(2, 0, 1).float()
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(classes, 30, 40, generator=generator)
    tables = [torch.eye(classes) + 0.1 * torch.randn(classes, classes, generator=generator) for _ in range(2)]
    widths = (1.5, 10.0, 25.0)
    q = native.mean_field(logits[None].numpy(), image[None].numpy(), widths, [t.numpy() for t in tables], 5)
    exact = dense_mean_field(logits, image, widths, tables, 5)
    assert (torch.from_numpy(q[0]).argmax(0) == exact.argmax(0)).float().mean() > 0.99
    assert (torch.from_numpy(q[0]) - exact).abs().mean() < 0.01
    np.testing.assert_allclose(q.sum(1), 1, atol=1e-5)


def test_no_iterations_give_the_softmax(photo):
    logits = np.random.default_rng(0).normal(size=(2, 4, 9, 7)).astype(np.float32)
    image = np.stack([photo[:9, :7], photo[9:18, :7]]).transpose(0, 3, 1, 2).astype(np.float32)
    q = native.mean_field(logits, image, (1.0, 5.0, 10.0), (np.eye(4), np.eye(4)), 0)
    np.testing.assert_allclose(q, torch.from_numpy(logits).softmax(1), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.zeros((4, 9, 7))}, "need logits"),
        ({"image": np.zeros((1, 3, 9, 8))}, "need logits"),
        ({"tables": (np.eye(4), np.eye(3))}, "need logits"),
        ({"iterations": -1}, "must not be negative"),
        ({"widths": (0.0, 5.0, 10.0)}, "sigma must be positive"),
        ({"widths": (1.0, 5.0, -1.0)}, "must be positive"),
        ({"image": np.full((1, 3, 9, 7), 300.0)}, "value 300"),
    ],
)
def test_bad_input_of_the_whole_mean_field_is_refused(change, message):
    good = {
        "logits": np.zeros((1, 4, 9, 7)),
        "image": np.zeros((1, 3, 9, 7)),
        "widths": (1.0, 5.0, 10.0),
        "tables": (np.eye(4), np.eye(4)),
        "iterations": 2,
    }
    with pytest.raises(SegtoolError, match=message):
        native.mean_field(**(good | change))
