"""Learning potentials edge by edge, without inference: the paper's section "Piecewise training of CRFs"."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from segtool.crf.contextual.coarse import Offset
from segtool.crf.contextual.potentials import EdgePotential

_AT_ONCE = 4_000_000  # joint scores; of 11 classes that is 33,000 edges, of 150 it is 177


class Edges(NamedTuple):
    """Edges of one image: rows and columns of their first and second places, and which offset lies between, each int64
    [E]; the labels at both ends, int64 [E]."""

    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    relation: Tensor
    first_label: Tensor
    second_label: Tensor


def sample_edges(labels: Tensor, stride: int, offsets: Sequence[Offset], count: int, ignore_index: int) -> Edges:
    """Random edges of an image whose both ends have a label.

    The label of a place is that of a random one of its pixels: on average the potentials learn the share of each class,
    so thin objects are not outvoted.

    Args:
        labels: [H,W].
        stride: pixels from one place to the next.
        count: how many to try; those that lead out of the image or end in void are left out.
    """
    height, width = (-(-side // stride) for side in labels.shape)
    where = labels.device
    step = torch.tensor(offsets, device=where)
    relation = torch.randint(len(offsets), (count,), device=where)
    first = torch.randint(height, (count,), device=where), torch.randint(width, (count,), device=where)
    second = first[0] + step[relation, 0], first[1] + step[relation, 1]
    inside = (second[0] >= 0) & (second[0] < height) & (second[1] >= 0) & (second[1] < width)
    relation, *ends = (values[inside] for values in (relation, *first, *second))
    first, second = (ends[0], ends[1]), (ends[2], ends[3])
    first_label, second_label = (_label(labels, place, stride) for place in (first, second))
    known = (first_label != ignore_index) & (second_label != ignore_index)
    relation, first_label, second_label, *ends = (
        values[known] for values in (relation, first_label, second_label, *first, *second)
    )
    return Edges((ends[0], ends[1]), (ends[2], ends[3]), relation, first_label, second_label)


def _label(labels: Tensor, place: tuple[Tensor, Tensor], stride: int) -> Tensor:
    """Of a random pixel of each place."""
    found = []
    for index, side in zip(place, labels.shape, strict=True):
        extent = (side - stride * index).clamp_max(stride)  # the last places of an image are smaller
        found.append(stride * index + (torch.rand(len(index), device=index.device) * extent).long())
    return labels[found[0], found[1]].long()


def edge_scores(potential: EdgePotential, features: Tensor, edges: Edges) -> tuple[Tensor, Tensor, Tensor]:
    """u [E,C], v [E,C] and h [E,R] of edges of an image with features [F,h,w]."""
    first, second = (features[:, *place].T for place in (edges.first, edges.second))  # [E,F]
    before = potential.project(first)[0] + potential.project(second)[1] + potential.relation[edges.relation]
    hidden = potential.hidden(before)
    return potential.first(hidden), potential.second(hidden), potential.strength(hidden)


def piecewise_loss(potential: EdgePotential, features: Tensor, edges: Edges, weight: Tensor) -> Tensor:
    """Minus the sum of w log P_V(y_p, y_q | x) over edges, P_V = exp(-V) normalised over all C^2 pairs of labels.

    Memory does not grow with edges times C^2.

    Args:
        features: of the places of one image, [F,h,w].
        weight: w of each edge, [E].
    """
    with torch.autocast(features.device.type, enabled=False):
        return _loss_in_parts(potential, edge_scores(potential, features, edges), edges, weight)


def _loss_in_parts(
    potential: EdgePotential, scores: tuple[Tensor, Tensor, Tensor], edges: Edges, weight: Tensor
) -> Tensor:
    u, v, h = scores
    tables = potential.first_table, potential.second_table
    size = max(1, _AT_ONCE // u.shape[1] ** 2)
    total = u.new_zeros(())
    for parts in zip(
        *(torch.split(x, size) for x in (u, v, h, edges.first_label, edges.second_label, weight)), strict=True
    ):
        # Computed once more on the way back, so that only one part's joint scores are there at a time.
        part: Tensor = checkpoint(_joint_loss, *parts, *tables, use_reentrant=False)
        total = total + part
    return total


def _joint_loss(
    u: Tensor, v: Tensor, h: Tensor, first_label: Tensor, second_label: Tensor, weight: Tensor, a: Tensor, b: Tensor
) -> Tensor:
    joint = u[:, :, None] + v[:, None, :] + torch.einsum("er,rc,rd->ecd", h, a, b)
    classes = u.shape[1]
    loss = F.cross_entropy(joint.flatten(1), first_label * classes + second_label, reduction="none")
    return (weight * loss).sum()
