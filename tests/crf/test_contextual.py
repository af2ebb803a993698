"""The contextual CRF against sums over all labellings, a loss written out edge by edge, and finite differences."""

import itertools

import pytest
import torch

from segtool.card import ContextCard
from segtool.crf.contextual import learning
from segtool.crf.contextual.coarse import neighbors, ring_offsets, to_map, to_pixels, to_places, to_rows
from segtool.crf.contextual.layer import ContextualCRF
from segtool.crf.contextual.learning import Edges, piecewise_loss, sample_edges

C, F = 3, 4


def context(offsets, iterations=3, classes=C, tables=2, seed=0):
    """With random weights, so that no part of it is nothing."""
    card = ContextCard(
        stride=8, features=F, feature_stride=2, offsets=offsets, hidden=5, tables=tables, iterations=iterations
    )
    layer = ContextualCRF(classes, card).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        layer.scale.abs_()
    layer.potential.normalize_by(3 * torch.randn(50, F, generator=generator).double() + 1)
    return layer.requires_grad_(True)


def maps(height, width, channels, batch=1, seed=1):
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(seed)).double()


def joint(layer, features, p, q, relation):
    """-V of one edge, [C,C], from its definition."""
    potential = layer.potential
    f = [(features[0, :, *place] - potential.mean) / potential.deviation for place in (p, q)]
    first = potential.of_first.weight @ f[0] + potential.of_first.bias + potential.of_second.weight @ f[1]
    hidden = (first + potential.relation[relation]).relu()
    hidden = (potential.mix.weight @ hidden + potential.mix.bias).relu()
    u, v, h = (part.weight @ hidden + part.bias for part in (potential.first, potential.second, potential.strength))
    found = u[:, None] + v[None, :]
    for strength, a, b in zip(h, potential.first_table, potential.second_table, strict=True):
        found = found + strength * torch.outer(a, b)
    return found


def all_edges(height, width, offsets):
    for y, x, (relation, (dy, dx)) in itertools.product(range(height), range(width), enumerate(offsets)):
        if 0 <= y + dy < height and 0 <= x + dx < width:
            yield (y, x), (y + dy, x + dx), relation


def test_the_message_is_the_expected_score_over_all_labellings():
    """Of 2x3 places with 3 classes there are 729. The expectation is over independent labels from softmax(z)."""
    height, width, offsets = 2, 3, [(0, 1), (1, -1), (1, 0)]
    layer, z, features = context(offsets, iterations=1), maps(height, width, C), maps(height, width, F, seed=2)
    edges = list(all_edges(height, width, offsets))
    scores = [joint(layer, features, *edge) for edge in edges]
    places = list(itertools.product(range(height), range(width)))
    q = z[0].softmax(0)
    expected = torch.zeros(C, height, width).double()
    for labels in itertools.product(range(C), repeat=len(places)):
        labelling = dict(zip(places, labels, strict=True))
        probability = torch.stack([q[label, *place] for place, label in labelling.items()]).prod()
        for (p, end, _), score in zip(edges, scores, strict=True):
            value = probability * score[labelling[p], labelling[end]]
            for place in (p, end):
                # Given the label of one place, what the others are is as likely as without knowing it.
                expected[labelling[place], *place] += value / q[labelling[place], *place]
    degree = torch.zeros(height, width).double()
    for p, end, _ in edges:
        degree[p] += 1
        degree[end] += 1
    expected = layer.scale[:, None, None] * (expected - expected.mean(0)) / degree
    torch.testing.assert_close(layer.message(z, features)[0], expected)


def test_mean_field_comes_near_the_exact_marginals_of_a_weak_crf():
    """Two places and one edge: P(y, y') is proportional to exp(z + z' - V)."""
    layer = context([(0, 1)], iterations=60)
    with torch.no_grad():
        layer.scale.fill_(1.0)
        for parameter in (*layer.potential.first.parameters(), *layer.potential.second.parameters()):
            parameter *= 0.2
        layer.potential.strength.weight *= 0.2
        layer.potential.strength.bias *= 0.2
    z, features = maps(1, 2, C), maps(1, 2, F, seed=2)
    score = z[0, :, 0, 0][:, None] + z[0, :, 0, 1][None] + joint(layer, features, (0, 0), (0, 1), 0)
    exact = score.flatten().softmax(0).view(C, C)
    found = (z + layer.message(z, features)).softmax(1)[0, :, 0]
    without = z.softmax(1)[0, :, 0]
    marginals = torch.stack([exact.sum(1), exact.sum(0)], 1)
    assert (found - marginals).abs().max() < 0.01
    assert (without - marginals).abs().max() > 0.05  # the edge does matter


def test_iterations_repeat_the_message():
    """T iterations are T times one: each takes Q from the message before."""
    offsets, z, features = ring_offsets([1, 2]), maps(4, 5, C), maps(4, 5, F, seed=2)
    once, three = context(offsets, 1), context(offsets, 3)
    unary = z
    for _ in range(2):
        # What one iteration starts from is softmax(unary); its own unary does not enter otherwise.
        unary = z + once.message(unary, features)
    torch.testing.assert_close(three.message(z, features), once.message(unary, features))


def test_gradients_of_inference_against_finite_differences():
    layer, offsets = context([(0, 1), (2, -1)], 3), [(0, 1), (2, -1)]
    z, features = maps(3, 4, C).requires_grad_(), maps(3, 4, F, seed=2).requires_grad_()
    weights = [*layer.parameters()]
    assert layer.offsets == offsets
    assert torch.autograd.gradcheck(lambda z, f, *_: layer.message(z, f), (z, features, *weights))


@pytest.mark.parametrize("at_once", [4_000_000, 1])
def test_piecewise_loss_is_the_one_written_out_by_hand(monkeypatch, at_once):
    """-sum w log softmax over the C^2 pairs of labels at the true pair, in one part and in parts of one edge."""
    monkeypatch.setattr(learning, "_AT_ONCE", at_once)
    offsets = [(0, 1), (1, -1), (1, 0)]
    layer, features = context(offsets), maps(3, 3, F)
    edges = list(all_edges(3, 3, offsets))
    first_label, second_label = torch.arange(len(edges)) % C, torch.arange(len(edges)) // 2 % C
    weight = torch.linspace(0.5, 2, len(edges)).double()
    expected = 0
    for (p, q, relation), a, b, w in zip(edges, first_label, second_label, weight, strict=True):
        score = joint(layer, features, p, q, relation)
        expected -= w * (score[a, b] - score.exp().sum().log())
    ends = [tuple(torch.tensor([edge[end][axis] for edge in edges]) for axis in (0, 1)) for end in (0, 1)]
    given = Edges(*ends, torch.tensor([edge[2] for edge in edges]), first_label, second_label)
    torch.testing.assert_close(piecewise_loss(layer.potential, features[0], given, weight), expected)
    parameters = [*layer.potential.parameters()]
    assert torch.autograd.gradcheck(lambda *_: piecewise_loss(layer.potential, features[0], given, weight), parameters)


def test_the_loss_of_150_classes_never_holds_all_joint_scores(monkeypatch):
    monkeypatch.setattr(learning, "_AT_ONCE", 10 * 150**2)
    layer, most, joint_loss = context([(0, 1)], classes=150), [], learning._joint_loss

    def watched(u, *rest):
        most.append(len(u))
        return joint_loss(u, *rest)

    monkeypatch.setattr(learning, "_joint_loss", watched)
    labels = torch.randint(150, (64, 64), generator=torch.Generator().manual_seed(0))
    edges = sample_edges(labels, 8, layer.offsets, 300, 255)
    piecewise_loss(layer.potential, maps(8, 8, F)[0], edges, torch.ones(len(edges.relation)).double()).backward()
    assert max(most) == 10
    assert sum(most) == 2 * len(edges.relation)  # once, and once more on the way back
    assert layer.potential.first_table.grad.abs().max() > 0


def test_sampled_edges_lie_in_the_image_and_end_in_known_labels():
    offsets = ring_offsets([1, 3])
    labels = torch.arange(37 * 50).view(37, 50)  # each pixel is a label of its own
    labels[:, 20:30] = 2000
    edges = sample_edges(labels, 8, offsets, 4000, 2000)
    assert len(edges.relation) > 1000
    step = torch.tensor(offsets)[edges.relation]
    for axis in (0, 1):
        assert torch.equal(edges.second[axis] - edges.first[axis], step[:, axis])
    for place, label in ((edges.first, edges.first_label), (edges.second, edges.second_label)):
        assert torch.equal(torch.div(label, 50, rounding_mode="floor") // 8, place[0])
        assert torch.equal(label % 50 // 8, place[1])
    assert len(edges.first_label.unique()) > 500  # any pixel of a place, not always the same


def test_no_labels_no_edges_and_a_loss_of_zero():
    layer = context([(0, 1)])
    edges = sample_edges(torch.full((16, 16), 255), 8, layer.offsets, 100, 255)
    assert len(edges.relation) == 0
    assert piecewise_loss(layer.potential, maps(2, 2, F)[0], edges, torch.zeros(0).double()) == 0


def test_rings_have_four_directions_and_no_edge_twice():
    offsets = ring_offsets([2, 5])
    assert offsets == [(0, 2), (1, 1), (2, 0), (1, -1), (0, 5), (4, 4), (5, 0), (4, -4)]
    assert not {*offsets} & {(-dy, -dx) for dy, dx in offsets}
    assert ring_offsets([1, 2]) == [(0, 1), (1, 1), (1, 0), (1, -1), (0, 2), (2, 0)]


def test_a_channel_that_was_nearly_dead_does_not_shout():
    """Its deviation over the images that it was normalised by is next to nothing."""
    layer, features = context(ring_offsets([1, 2])), maps(4, 5, F, seed=2)
    known = torch.ones(1000, F).double()
    known[0] += 1e-6
    layer.potential.normalize_by(known)
    quiet, loud = (layer.message(maps(4, 5, C), size * features) for size in (1, 1000))
    assert loud.abs().max() < 100 * quiet.abs().max()


def test_neighbors_of_a_map():
    like = torch.zeros(())
    assert neighbors(2, 3, [(0, 1), (1, -1)], like).tolist() == [[1, 2, 6, 4, 5, 6], [6, 3, 4, 6, 6, 6]]


def test_a_map_smaller_than_all_offsets_gets_no_message():
    layer = context(ring_offsets([4]))
    assert layer.message(maps(2, 3, C), maps(2, 3, F)).abs().max() == 0


def test_images_of_a_batch_do_not_know_of_each_other():
    layer, z, features = context(ring_offsets([1, 2])), maps(4, 5, C, 3), maps(4, 5, F, 3, seed=2)
    together = layer.message(z, features)
    for n in range(3):
        torch.testing.assert_close(together[n : n + 1], layer.message(z[n : n + 1], features[n : n + 1]))


@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 23), (1, 1), (7, 9)])
def test_places_are_means_of_what_lies_in_the_image(height, width):
    pixels = maps(height, width, 2)
    found = to_places(pixels, 8)
    for y, x in itertools.product(range(found.shape[2]), range(found.shape[3])):
        expected = pixels[0, :, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].mean((1, 2))
        torch.testing.assert_close(found[0, :, y, x], expected)
    assert to_pixels(found, 8, height, width).shape == pixels.shape
    assert torch.equal(to_map(to_rows(found), *found.shape[2:]), found)


def test_what_rises_evenly_over_places_rises_evenly_over_pixels():
    """The middle of place i lies at pixel 8 i + 3.5; beyond the middles of the outermost nothing changes."""
    height, width = 37, 45  # no multiples of 8
    rows, columns = torch.arange(5.0).double(), torch.arange(6.0).double()
    found = to_pixels((10 * rows[:, None] + columns)[None, None], 8, height, width)[0, 0]
    y, x = ((torch.arange(side).double() - 3.5) / 8 for side in (height, width))
    torch.testing.assert_close(found, 10 * y.clamp(0, 4)[:, None] + x.clamp(0, 5))


def test_a_new_crf_changes_nothing():
    card = ContextCard(
        stride=8, features=F, feature_stride=2, offsets=ring_offsets([1]), hidden=5, tables=2, iterations=3
    )
    logits = torch.randn(2, C, 20, 30)
    assert torch.equal(ContextualCRF(C, card)(logits, torch.randn(2, F, 10, 15)), logits)


@pytest.mark.parametrize("offset", [(0, 0), (0, -1), (-1, 3)])
def test_an_edge_has_one_direction(offset):
    with pytest.raises(ValueError, match="must lead down, or to the right"):
        context([(1, 0), offset])
