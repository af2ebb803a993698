"""The potential of an edge."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FAR_OUT = 10.0  # deviations from the mean, beyond which features are not followed: a channel may be nearly dead


class EdgePotential(nn.Module):
    """C x C scores of the labels of two places, from the features of both and their relation.

    The paper's -V(y_p, y_q) (section "Pairwise potential functions") comes from a network with C^2 outputs. Here it is

        u(y_p) + v(y_q) + sum_r h_r a_r(y_p) b_r(y_q)

    with u, v and h linear in the last hidden layer, and with R tables a_r b_r^T that all edges share. So an edge need
    not hold C^2 numbers; with 150 classes they would be 22,500.

    Before it learns, the potential is zero, and so is the message: a model begins as it was without it.

    Args:
        classes: C.
        features: F, channels of what is known about a place.
        relations: D, kinds of edges, one for each offset.
        hidden: width of the two hidden layers.
        tables: R.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, classes: int, features: int, relations: int, hidden: int, tables: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.of_first = nn.Linear(features, hidden)
        self.of_second = nn.Linear(features, hidden, bias=False)
        self.relation = nn.Parameter(0.1 * torch.randn(relations, hidden))
        self.mix = nn.Linear(hidden, hidden)
        self.first = _zero(nn.Linear(hidden, classes))  # u
        self.second = _zero(nn.Linear(hidden, classes))  # v
        self.strength = _zero(nn.Linear(hidden, tables))  # h
        self.first_table = nn.Parameter(torch.randn(tables, classes) / classes**0.5)  # a
        self.second_table = nn.Parameter(torch.randn(tables, classes) / classes**0.5)  # b

    @torch.no_grad()
    def normalize_by(self, features: Tensor) -> None:
        """Takes mean and deviation of each channel from the features of places, [P,F]; until then features are taken as
        they are."""
        spread, mean = torch.std_mean(features, 0)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(spread > 0, spread, 1.0))  # a dead channel stays as it is

    def project(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What places with features float32 [...,F] contribute to the first hidden layer of an edge, as its first and
        as its second: each [...,hidden]."""
        normal = ((features - self.mean) / self.deviation).clamp(-_FAR_OUT, _FAR_OUT).to(self.mix.weight.dtype)
        return self.of_first(normal), self.of_second(normal)

    def hidden(self, edges: Tensor) -> Tensor:
        """The last hidden layer, [...,hidden].

        Args:
            edges: the sum of what both places contribute and the row of `relation`, [...,hidden].
        """
        found: Tensor = F.relu(self.mix(F.relu(edges)))
        return found


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
