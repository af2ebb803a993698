"""Mean-field inference in the contextual CRF."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segtool.card import ContextCard
from segtool.crf.contextual.coarse import (
    edges_ending,
    neighbors,
    take,
    take_or,
    to_map,
    to_pixels,
    to_places,
    to_rows,
)
from segtool.crf.contextual.potentials import EdgePotential

_NOTHING = -30_000.0  # in the place of a missing feature: no sum with it is positive, in half precision either


class _Graph(NamedTuple):
    """The edges of a map, for each of the D offsets and P places.

    Attributes:
        after, before: the other place of the edge that begins, and of the one that ends at a place, [D,P]; P for none.
        ending: the edge that ends at a place, [D,P]; see `edges_ending`.
        begins, ends: whether there is such an edge, float32 [D,P,1].
    """

    after: Tensor
    before: Tensor
    ending: Tensor
    begins: Tensor
    ends: Tensor


class ContextualCRF(nn.Module):
    """A CRF on the places of a coarse map, with learned potentials between distant ones:

        P(y | x) = exp(-E(y, x)) / Z,    E(y, x) = sum_p U(y_p) + sum_(p,q) V(y_p, y_q)

    (the paper's section "Contextual Deep CRFs"). U = -z_p are the network's logits, averaged over the pixels of a
    place. V is the `EdgePotential` of the features of two places. Mean field (section "Prediction"), T times from
    Q = softmax(z):

        m_p(y) = s(y) / |N(p)| sum_q sum_y' -V(y, y') Q_q(y'),    Q_p = softmax(z_p + m_p)

    |N(p)| is the number of edges at p, and s a factor for each class: edges overlap in what they know, and their plain
    sum would be too sure of it. Before the factor the mean over the classes is taken off the sum, for a potential says
    nothing by a number that it adds to all. The message m, not Q, goes on: it is added to the logits of every pixel,
    which keep their resolution.

    Args:
        classes: C.
        card: the graph, and the sizes of the network that gives the potentials.
    """

    def __init__(self, classes: int, card: ContextCard) -> None:
        super().__init__()
        self.classes, self.card, self.offsets, self.iterations = classes, card, list(card.offsets), card.iterations
        self.potential = EdgePotential(classes, card.features, len(card.offsets), card.hidden, card.tables)
        self.scale = nn.Parameter(torch.ones(classes))
        self.temperature = card.temperature

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        """Logits with the message added, divided by the temperature.

        Args:
            logits: of the network, [N,C,H,W].
            features: what the potentials read, [N,F,ceil(H/k),ceil(W/k)] with k the card's `feature_stride`.

        Returns:
            float32 [N,C,H,W].
        """
        with _without_autocast(logits.device.type):
            logits, stride = logits.float(), self.card.stride
            message = self.message(to_places(logits, stride), self.places(features))
            found = logits + to_pixels(message, stride, logits.shape[2], logits.shape[3])
            return found if self.temperature == 1 else found / self.temperature

    def to_card(self) -> ContextCard:
        """What the model card holds; the weights are not in it."""
        return self.card.model_copy(update={"temperature": self.temperature})

    def places(self, features: Tensor) -> Tensor:
        """Features of the network as features of the places, float32 [N,F,ceil(H/s),ceil(W/s)]."""
        return to_places(features.float(), self.card.stride // self.card.feature_stride)

    def message(self, unary: Tensor, features: Tensor) -> Tensor:
        """The last mean-field message, [N,C,h,w].

        Args:
            unary: logits of the places, [N,C,h,w].
            features: of the places, [N,F,h,w].
        """
        height, width = unary.shape[2:]
        for axis, side in ((2, height), (3, width)):
            torch._check(features.shape[axis] == side)  # torch's exporter has to know it
        graph, z = self._graph(height, width, unary), to_rows(unary)
        share = self.scale / (graph.begins + graph.ends).sum(0).clamp_min(1)
        hidden = self._hidden(to_rows(features), graph)
        fixed, strength = self._fixed_part(hidden, graph), self._strength(hidden, graph)
        q = z.softmax(2)
        for left in reversed(range(self.iterations)):
            total = fixed + self._tables_part(q, strength, graph)
            message = share * (total - total.mean(2, keepdim=True))
            if left:
                q = (z + message).softmax(2)
        return to_map(message, height, width)

    def _graph(self, height: int, width: int, like: Tensor) -> _Graph:
        after = neighbors(height, width, self.offsets, like)
        before = neighbors(height, width, [(-dy, -dx) for dy, dx in self.offsets], like)
        begins, ends = ((place < height * width)[:, :, None].float() for place in (after, before))
        return _Graph(after, before, edges_ending(before), begins, ends)

    def _hidden(self, features: Tensor, graph: _Graph) -> Tensor:
        """The last hidden layer of the edges that begin at each place, [N,D,P,hidden]; `_of_nothing` where there is
        none, as their first one is zero. This is the largest tensor, and masking it would take time."""
        first, second = self.potential.project(features)
        edges = first[:, None] + take_or(second, graph.after, _NOTHING) + self.potential.relation[:, None]
        # As a matrix: runtimes then add the bias as they multiply.
        return self.potential.hidden(edges.flatten(0, 2)).view(edges.shape)

    @property
    def _of_nothing(self) -> Tensor:
        return F.relu(self.potential.mix.bias)

    def _fixed_part(self, hidden: Tensor, graph: _Graph) -> Tensor:
        """The sum over the edges of what does not depend on the label of the other place, [N,P,C]: u of the edges that
        begin at a place, and v of those that end there. Both are linear, so the edges are added up before."""
        begin, end = hidden.sum(1), take(hidden.flatten(1, 2), graph.ending).sum(1)
        u = self._of_sum(self.potential.first, begin, graph.begins.sum(0))
        v = self._of_sum(self.potential.second, end, graph.ends.sum(0))
        return (u + v).to(self.scale.dtype)

    def _of_sum(self, layer: nn.Linear, total: Tensor, count: Tensor) -> Tensor:
        """A linear layer of edges that were added up before, `count` of which exist."""
        nothing = self._of_nothing
        of_one = F.linear(nothing, layer.weight, layer.bias)
        return F.linear(total - len(self.offsets) * nothing, layer.weight) + of_one * count.to(of_one.dtype)

    def _strength(self, hidden: Tensor, graph: _Graph) -> tuple[Tensor, Tensor]:
        """h of the edges that begin and of those that end at each place, each [N,D,P,R]."""
        begin = self.potential.strength(hidden).to(self.scale.dtype) * graph.begins
        return begin, take(begin.flatten(1, 2), graph.ending)

    def _tables_part(self, q: Tensor, strength: tuple[Tensor, Tensor], graph: _Graph) -> Tensor:
        """The sum over the edges of h_r a_r b_r^T Q, or of its transpose where a place is the second, [N,P,C]."""
        a, b = self.potential.first_table, self.potential.second_table
        as_first = (strength[0] * take_or(q @ b.T, graph.after, 0.0)).sum(1)
        as_second = (strength[1] * take_or(q @ a.T, graph.before, 0.0)).sum(1)
        return as_first @ a + as_second @ b


def _without_autocast(device: str) -> AbstractContextManager[Any]:
    """Single precision also in a network that trains in mixed one."""
    # Only then: of a graph that is traced within a context, nobody could tell any more which layer is which.
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
