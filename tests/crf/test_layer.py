"""The CRF layer against the exact reference and against finite differences."""

import json

import numpy as np
import pytest
import torch

from segtool.card import parse_card
from segtool.crf import plain
from segtool.crf.layer import DenseCRF, KernelWidths
from segtool.crf.reference import gaussian_kernel, mean_field, pixel_features

WIDTHS = KernelWidths(1.5, 10.0, 40.0)


@pytest.fixture
def image(photo):
    return torch.from_numpy(photo[20:44, 30:60].copy()).permute(2, 0, 1)[None].float()


def _random_crf(classes, compatibility="full", learn_widths=False):
    crf = DenseCRF(classes, WIDTHS, (0.5, 1.0), compatibility=compatibility, learn_widths=learn_widths, iterations=4)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return crf


@pytest.mark.parametrize("compatibility", ["full", "per-class", "per-kernel"])
def test_mean_field_is_the_exact_one_up_to_the_lattice(image, compatibility):
    crf = _random_crf(5, compatibility)
    logits = 2 * torch.randn(1, 5, 24, 30, generator=torch.Generator().manual_seed(1))
    got = crf(logits, image).softmax(1)[0]
    kernels = [
        gaussian_kernel(pixel_features(image[0], 1.5)),
        gaussian_kernel(pixel_features(image[0], 10.0, 40.0)),
    ]
    tables = [crf.matrix(crf.spatial_weight), crf.matrix(crf.bilateral_weight)]
    unary = (logits[0].log_softmax(0) * crf.unary_scale[:, None, None]).flatten(1).T
    exact = mean_field(unary, kernels, tables, 4).T.reshape(5, 24, 30)
    assert (got.argmax(0) == exact.argmax(0)).float().mean() > 0.98
    assert (got - exact).abs().mean() < 0.01


def test_gradients_against_finite_differences_in_float64(image):
    """The layer computes in float32, so its gradients are compared with those of the same mean field in
    float64 on the plain torch lattice, which are themselves checked by finite differences."""
    image = image[:, :, :6, :7].contiguous()
    crf = _random_crf(3)
    lattice = [t.double() if t.is_floating_point() else t for t in plain.bilateral_lattice(image, 10.0, 40.0)]
    spatial = gaussian_kernel(pixel_features(image[0].double(), 1.5))

    def in_float64(logits, scale, spatial_table, bilateral_table):
        unary = logits.log_softmax(1) * scale[:, None, None]
        z = unary
        for _ in range(4):
            q = z.softmax(1)
            messages = (
                (spatial @ q[0].flatten(1).T).T.reshape(q.shape),
                plain.bilateral_filter(q, *lattice),
            )
            z = unary
            for message, table in zip(messages, (spatial_table, bilateral_table), strict=True):
                z = z + torch.einsum("ncyx,cd->ndyx", message, table)
        return z

    logits = torch.randn(1, 3, 6, 7, generator=torch.Generator().manual_seed(2))
    leaves = [logits, crf.unary_scale, crf.spatial_weight, crf.bilateral_weight]
    doubles = [leaf.detach().double().requires_grad_() for leaf in leaves]
    assert torch.autograd.gradcheck(in_float64, doubles)
    cotangent = torch.randn(1, 3, 6, 7, generator=torch.Generator().manual_seed(3))
    expected = torch.autograd.grad(in_float64(*doubles), doubles, cotangent.double())
    leaves[0] = logits.requires_grad_()
    got = torch.autograd.grad(crf(logits, image), leaves, cotangent)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


def test_card_round_trip_is_exact(image):
    crf = _random_crf(4, "per-class")
    again = DenseCRF.from_card(type(crf.to_card()).model_validate_json(crf.to_card().model_dump_json()))
    logits = torch.randn(1, 4, 24, 30)
    torch.testing.assert_close(again(logits, image), crf(logits, image), rtol=1e-6, atol=1e-6)


def test_zero_compatibility_changes_nothing(image):
    crf = DenseCRF(3, WIDTHS, (0.0, 0.0))
    logits = torch.randn(1, 3, 24, 30)
    torch.testing.assert_close(crf(logits, image), logits.log_softmax(1))


@pytest.mark.parametrize("learn_widths", [False, True])
def test_a_number_added_to_all_logits_of_a_pixel_changes_nothing(image, learn_widths):
    crf = _random_crf(5, learn_widths=learn_widths)
    generator = torch.Generator().manual_seed(1)
    logits, shift = (torch.randn(1, c, 24, 30, generator=generator) for c in (5, 1))
    torch.testing.assert_close(crf(logits + 20 * shift, image), crf(logits, image), rtol=1e-4, atol=1e-4)
    assert (crf.unary_scale.std() > 0.05).all()  # where the scale is one number, nothing could change


def test_a_card_of_schema_1_goes_on_scaling_logits_as_they_come(image):
    """What such a model gave is Q <- softmax(s z + ...), checked with tables of nothing."""
    crf = DenseCRF(3, WIDTHS, (0.0, 0.0))
    with torch.no_grad():
        crf.unary_scale.copy_(torch.tensor([0.5, 1.0, 2.0]))
    logits = torch.randn(1, 3, 24, 30, generator=torch.Generator().manual_seed(1))
    scaled = logits * crf.unary_scale[:, None, None]
    card = old_card(crf.to_card())
    torch.testing.assert_close(DenseCRF.from_card(card)(logits, image), scaled)
    assert not torch.allclose(crf(logits, image).softmax(1), scaled.softmax(1), atol=0.01)


def old_card(crf):
    """The CRF's card as schema 1 has it, read again."""
    new = {"normalize_unary", "temperature", "compatibility", "learn_widths"}
    classes = [{"id": i, "name": str(i), "color": [0, 0, 0]} for i in range(len(crf.unary_scale))]
    rest = {"architecture": "FPN", "encoder": "", "classes": classes, "seed": 0, "config": {}, "packages": {}}
    about = {"dataset": "d", "split": "train", "image_count": 1, "fingerprint": ""}
    card = {"schema_version": 1, **rest, "trained_on": about, "crf": crf.model_dump(exclude=new)}
    return parse_card(json.dumps(card), "old").crf


def test_the_temperature_divides_the_logits_and_keeps_the_labels(image):
    crf = _random_crf(4)
    logits = torch.randn(1, 4, 24, 30)
    before = crf(logits, image)
    crf.temperature = 1.7
    torch.testing.assert_close(crf(logits, image), before / 1.7)
    torch.testing.assert_close(DenseCRF.from_card(crf.to_card())(logits, image), before / 1.7)


@pytest.mark.parametrize("compatibility", ["full", "per-class", "per-kernel"])
def test_a_card_keeps_what_is_learned(compatibility):
    crf = _random_crf(4, compatibility, learn_widths=True)
    again = DenseCRF.from_card(crf.to_card())
    shapes = {name: p.shape for name, p in crf.named_parameters()}
    assert {name: p.shape for name, p in again.named_parameters()} == shapes
    fixed = crf.fixed()
    assert fixed.log_widths is None
    assert fixed.spatial_weight.shape == (4, 4)
    assert fixed.to_card().spatial_compatibility == crf.to_card().spatial_compatibility


def test_stays_float32_inside_autocast(image):
    crf = _random_crf(3)
    logits = torch.randn(1, 3, 24, 30)
    expected = crf(logits, image)
    with torch.autocast("cpu", torch.bfloat16):
        got = crf(logits, image)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected)


def test_crf_repairs_noise_between_two_flat_halves():
    """What a CRF is for: isolated wrong pixels take the label of their alike-coloured surroundings."""
    random = np.random.default_rng(0)
    truth = np.zeros((32, 48), int)
    truth[:, 20:] = 1
    image = torch.from_numpy(np.where(truth, 200.0, 60.0)).float().expand(1, 3, -1, -1).contiguous()
    logits = torch.from_numpy(np.stack([1 - truth, truth]) * 2.0 + random.normal(0, 1.5, (2, 32, 48)))[None].float()
    crf = DenseCRF(2, KernelWidths(2.0, 15.0, 15.0), (1.0, 3.0))
    before = (logits[0].argmax(0).numpy() == truth).mean()
    after = (crf(logits, image)[0].argmax(0).numpy() == truth).mean()
    assert before < 0.9
    assert after > 0.995


def test_widths_learn_towards_those_that_made_the_target(image):
    """The labels come from the exact mean field of other widths; following the gradient goes there."""
    logits = 2 * torch.nn.functional.interpolate(
        torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(1)), (24, 30), mode="bilinear"
    )
    logits += 0.5 * torch.randn(1, 4, 24, 30, generator=torch.Generator().manual_seed(2))
    kernels = [
        gaussian_kernel(pixel_features(image[0], 2.5)),
        gaussian_kernel(pixel_features(image[0], 5.0, 20.0)),
    ]
    exact = mean_field(logits[0].flatten(1).T, kernels, [torch.eye(4), 2 * torch.eye(4)], 4).T.reshape(1, 4, 24, 30)
    crf = DenseCRF(4, KernelWidths(1.5, 8.0, 35.0), (1.0, 2.0), learn_widths=True, iterations=4)
    optimizer = torch.optim.Adam([crf.log_widths], lr=0.1)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(crf(logits, image), exact).backward()
        optimizer.step()
    assert crf.widths.spatial_gamma == pytest.approx(2.5, rel=0.25)
    assert crf.widths.bilateral_alpha == pytest.approx(5.0, rel=0.3)
    assert crf.widths.bilateral_beta == pytest.approx(20.0, rel=0.3)
    assert crf.to_card().bilateral_alpha == pytest.approx(crf.widths.bilateral_alpha)
